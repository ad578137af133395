"""Every pair that the bench measures says what it ought to; how fast is for the bench to tell."""

import json

import pytest

from bench.answered import TEXT
from bench.report import Report
from bench.translation import CLIENTS, VENDORS, Client, Pair, Vendor, measure_translation, pairs

PAIRS = [pytest.param(client, pair, id=f"{client}, {vendor}") for client, vendor, pair in pairs()]


def test_each_client_is_there_with_each_vendor() -> None:
    assert len(PAIRS) == len(CLIENTS) * len(VENDORS) == 18


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_request_is_some_two_kilobytes_long(client: Client) -> None:
    assert 1_850 < len(client.body) < 2_100


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_a_reply_is_some_two_kilobytes_long(vendor: Vendor) -> None:
    assert 1_850 < len(vendor.answered.reply) < 2_300


@pytest.mark.parametrize(("client", "pair"), PAIRS)
def test_the_whole_conversation_reaches_the_vendor(client: str, pair: Pair) -> None:
    built, _ = pair.request_and_reply()

    said = json.dumps(json.loads(built.body))
    for word in (
        "refund only for parcels",
        "promised for last Tuesday",
        "Hamburg",
        "broken lorry",
        "money back",
    ):
        assert word in said
    assert said.count("Twenty digits.") == said.count("it answers within the day") == 1


@pytest.mark.parametrize(("client", "pair"), PAIRS)
def test_the_whole_reply_reaches_the_client(client: str, pair: Pair) -> None:
    _, body = pair.request_and_reply()

    assert said_in_reply(client, json.loads(body)) == (TEXT, CALLS)


@pytest.mark.parametrize(("client", "pair"), PAIRS)
def test_the_whole_stream_reaches_the_client(client: str, pair: Pair) -> None:
    lines = pair.stream()().decode().splitlines()

    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert said_in_stream(client, events) == (TEXT, CALLS)


CALLS = [
    {"parcel": "00340434161094042557", "question": "Where is it?", "urgency": "high"},
    {"parcel": "00340434161094042557", "with_events": False},
]


def said_in_reply(client: str, body: dict) -> tuple[str, list[object]]:
    """The text and the calls' arguments of a reply in a client's format."""
    match client:
        case "chat completions":
            message = body["choices"][0]["message"]
            return message["content"], [
                json.loads(call["function"]["arguments"]) for call in message["tool_calls"]
            ]
        case "responses":
            message, *calls = body["output"]
            return message["content"][0]["text"], [json.loads(call["arguments"]) for call in calls]
        case _:
            text, *calls = body["content"]
            return text["text"], [call["input"] for call in calls]


def said_in_stream(client: str, events: list[dict]) -> tuple[str, list[object]]:
    """The text and the calls' arguments of a stream in a client's format."""
    texts: list[str] = []
    calls: dict[int, str] = {}
    for event in events:
        match client, event:
            case "chat completions", {"choices": [{"delta": delta}]}:
                texts.append(delta.get("content") or "")
                for call in delta.get("tool_calls", ()):
                    calls[call["index"]] = calls.get(call["index"], "") + call["function"]["arguments"]
            case _, {"type": "response.output_text.delta", "delta": text}:
                texts.append(text)
            case _, {"type": "response.function_call_arguments.delta", "output_index": place, "delta": text}:
                calls[place] = calls.get(place, "") + text
            case _, {"delta": {"type": "text_delta", "text": text}}:
                texts.append(text)
            case _, {"index": place, "delta": {"type": "input_json_delta", "partial_json": text}}:
                calls[place] = calls.get(place, "") + text
    return "".join(texts), [json.loads(calls[place]) for place in sorted(calls)]


def test_the_bench_has_a_bar_on_the_worst_pair() -> None:
    report = Report(name="translation")

    measure_translation(report, rounds=1)

    assert len(report.figures) == len(PAIRS)
    assert [bar.figure for bar in report.bars] == [
        max(figures[name] for figures in report.figures) for name in ("request_and_reply_us", "event_us")
    ]
