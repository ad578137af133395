"""OpenAI's Responses at the client's side: what vendors' steps become, held to the order and the types that clients hold them to."""

import json
from base64 import b64decode
from typing import Any
from uuid import UUID

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from dispatch_app.execution.assembly import assemble
from dispatch_app.execution.canonical import ChunkChoice, StreamPart
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.openai_responses import render_reply
from dispatch_app.gateway.responses_request import parse_response
from dispatch_app.gateway.responses_stream import ResponseStream
from policies_app.routing.codes import WireFeature
from policies_app.routing.types import Usage
from tests.matrix.event_order import check_responses

ID = UUID("01a20b64-66b2-760a-ab6d-b96356e5e348")
USAGE = Usage(
    input_tokens=3, cached_input_tokens=4, cache_write_tokens=5, output_tokens=6, reasoning_tokens=7
)
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

Step = dict[str, Any]


def parse(**fields: Any) -> Any:
    return parse_response(json.dumps({"model": "auto", "input": "Hello"} | fields).encode())


def streamed(*deltas: Step, finish_reason: str | None = "stop") -> list[Any]:
    """The events that steps become."""
    stream = ResponseStream(dispatch_id=ID, created=1, prompt=parse())
    ending = ChunkChoice(finish_reason=finish_reason)
    said = [stream.part(part, model="mid") for part in parts_of(*deltas)]
    said.append(stream.part(StreamPart(model="mid", choices=[ending], usage=None), model="mid"))
    said.append(stream.end(model="mid", usage=USAGE, details={}, is_verbose=False))
    return read(b"".join(said))


def parts_of(*deltas: Step) -> list[StreamPart]:
    return [StreamPart(model="mid", choices=[ChunkChoice(delta=delta)], usage=None) for delta in deltas]


def read(data: bytes) -> list[Any]:
    events = []
    for block in data.split(b"\n\n")[:-1]:
        name, told = block.split(b"\n")
        _EVENT.validate_json(told.removeprefix(b"data: "), strict=True)
        events.append(json.loads(told.removeprefix(b"data: ")))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


def output_of(events: list[Any]) -> list[Any]:
    """What a stream came to, once its order has been checked."""
    check_responses(events, is_cut=False)
    return list(events[-1]["response"]["output"])


CALL = {"index": 0, "id": "call_1", "function": {"name": "get_time", "arguments": ""}}
ANSWERS = {
    "text": [{"role": "assistant", "content": ""}, {"content": "Par"}, {"content": "is"}],
    "a thought, and then a text": [
        {"reasoning_content": "hm", "thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm"}]},
        {"thinking_blocks": [{"index": 0, "signature": "signed"}]},
        {"content": "Paris"},
    ],
    "a thought that nobody may read": [
        {"thinking_blocks": [{"index": 0, "type": "redacted_thinking", "data": "opaque"}]},
        {"content": "Paris"},
    ],
    "a refusal": [{"refusal": "I'd "}, {"refusal": "rather not."}],
    "a refusal in the middle": [{"content": "Well, "}, {"refusal": "no."}],
    "calls": [
        {"tool_calls": [CALL]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
        {"tool_calls": [{**CALL, "index": 1, "id": "call_2"}]},
    ],
    "a text, and then a call": [{"content": "Let me see."}, {"tool_calls": [CALL]}],
    "nothing": [],
}


@pytest.mark.parametrize("deltas", ANSWERS.values(), ids=ANSWERS)
def test_a_stream_comes_to_what_the_plain_response_is(deltas: list[Step]) -> None:
    reply = assemble(parts_of(*deltas) or parts_of({}), wire_status=200, first_byte_at=0.0)

    plain = render_reply(
        reply=reply, dispatch_id=ID.hex, created=1, model="mid", usage=USAGE, details=None, prompt=parse()
    )

    Response.model_validate_json(plain, strict=True)
    events = streamed(*deltas)
    assert output_of(events) == json.loads(plain)["output"]
    assert events[-1]["response"]["usage"] == json.loads(plain)["usage"]


def test_tokens_are_counted_once_in_the_totals_that_hold_them() -> None:
    usage = streamed({"content": "Paris"})[-1]["response"]["usage"]

    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (12, 13, 25)
    assert usage["input_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 5}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 7}


def test_what_was_thought_is_sealed_in_the_item_that_ends_it() -> None:
    events = streamed(*ANSWERS["a thought, and then a text"])

    (item,) = [
        event["item"]
        for event in events
        if event["type"] == "response.output_item.done" and event["item"]["type"] == "reasoning"
    ]
    sealed = [{"type": "thinking", "thinking": "hm", "signature": "signed"}]
    assert json.loads(b64decode(item["encrypted_content"])) == sealed
    told = parse(input=[{"role": "user", "content": "?"}, item, {"role": "assistant", "content": "Paris"}])
    assert told.request.fields["messages"][1]["thinking_blocks"] == sealed


def test_the_item_at_which_a_response_was_cut_is_incomplete_like_it() -> None:
    events = streamed({"content": "The cap"}, finish_reason="length")

    assert [item["status"] for item in output_of(events)] == ["incomplete"]
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_error_has_the_number_that_comes_next() -> None:
    stream = ResponseStream(dispatch_id=ID, created=1, prompt=parse())
    said = [stream.part(part, model="mid") for part in parts_of({"content": "The"})]

    events = read(b"".join([*said, stream.error(DispatchError(status=502, code=ErrorCode.UPSTREAM_INVALID))]))

    check_responses(events, is_cut=False)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "upstream_invalid")


@pytest.mark.parametrize("missing", ["name", "schema"])
def test_a_form_without_its_name_or_schema_is_refused(missing: str) -> None:
    form = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}
    del form[missing]

    with pytest.raises(RequestError) as refused:
        parse(text={"format": form})

    assert refused.value.param == f"text.format.{missing}"


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
def test_what_bounds_the_money_in_another_format_is_refused(name: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse(**{name: 3})

    assert (raised.value.code, raised.value.param) == (ErrorCode.UNSUPPORTED_PARAMETER, name)


@pytest.mark.parametrize(
    ("output", "has_images"),
    [
        ("Cloudy", False),
        ([{"type": "input_text", "text": "Cloudy"}], False),
        ([{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}], True),
    ],
)
def test_an_image_that_a_tool_answered_with_goes_to_no_model_that_cannot_be_told_of_it(
    output: str | list[Step], has_images: bool
) -> None:
    prompt = parse(
        input=[
            {"role": "user", "content": "What does the sky look like?"},
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": output},
        ]
    )

    assert (WireFeature.TOOL_RESULT_IMAGES in prompt.features) is has_images
