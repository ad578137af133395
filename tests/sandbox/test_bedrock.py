"""AWS's own client cannot tell the sandbox from Bedrock."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer, serve_in_thread

CAPITAL = [{"role": "user", "content": [{"text": "What is the capital of France?"}]}]
ACCESS_KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PNG = base64.b64decode("iVBORw0KGgo=")
WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
}
CLOCK = {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object"}}}}
TOOLS = {"tools": [WEATHER, CLOCK], "toolChoice": {"auto": {}}}
ASK_BOTH = [{"role": "user", "content": [{"text": "Use get_weather and get_time for Paris."}]}]


@pytest.fixture(scope="module")
def vendor() -> Iterator[SandboxServer]:
    with serve_in_thread(SandboxServer(api_key=ACCESS_KEY)) as server:
        yield server


@pytest.fixture(autouse=True)
def _without_faults(vendor: SandboxServer) -> Iterator[None]:
    yield
    vendor.clear_faults()


@pytest.fixture(scope="module")
def client(vendor: SandboxServer) -> Iterator[Any]:
    with make_client(vendor) as client:
        yield client


@contextmanager
def make_client(vendor: SandboxServer, *, secret: str = ACCESS_KEY.partition(":")[2]) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=vendor.origin,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )
    with closing(client):
        yield client


def read(reply: dict[str, Any]) -> list[dict[str, Any]]:
    with closing(reply["stream"]) as events:
        return list(events)


def test_a_reply_has_the_shape_of_the_api(client: Any):
    reply = client.converse(modelId="sandbox-frontier", messages=CAPITAL)

    assert reply["output"]["message"] == {
        "role": "assistant",
        "content": [{"text": "The capital of France is Paris."}],
    }
    assert reply["stopReason"] == "end_turn"
    usage = reply["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert usage["cacheReadInputTokens"] == 0


def test_a_stream_says_the_same_as_a_reply(client: Any):
    plain = client.converse(modelId="sandbox-frontier", messages=CAPITAL)
    events = read(client.converse_stream(modelId="sandbox-frontier", messages=CAPITAL))

    kinds = [next(iter(event)) for event in events]
    assert [kinds[0], *kinds[-3:]] == ["messageStart", "contentBlockStop", "messageStop", "metadata"]
    texts = [event["contentBlockDelta"]["delta"]["text"] for event in events[1:-3]]
    assert "".join(texts) == plain["output"]["message"]["content"][0]["text"]
    assert events[-2]["messageStop"] == {"stopReason": "end_turn"}
    assert events[-1]["metadata"]["usage"] == plain["usage"]


def test_tools_are_called_in_parallel_and_answered(client: Any):
    asked = client.converse(modelId="sandbox-frontier", messages=ASK_BOTH, toolConfig=TOOLS)
    turn = asked["output"]["message"]
    calls = [block["toolUse"] for block in turn["content"]]
    results = [
        {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"json": {"ok": True}}]}}
        for call in calls
    ]

    answered = client.converse(
        modelId="sandbox-frontier",
        messages=[*ASK_BOTH, turn, {"role": "user", "content": results}],
        toolConfig=TOOLS,
    )

    assert asked["stopReason"] == "tool_use"
    assert [call["name"] for call in calls] == ["get_weather", "get_time"]
    assert answered["output"]["message"]["content"][0]["text"]


def test_a_calls_input_is_streamed_as_text(client: Any):
    plain = client.converse(modelId="sandbox-frontier", messages=ASK_BOTH, toolConfig=TOOLS)
    events = read(client.converse_stream(modelId="sandbox-frontier", messages=ASK_BOTH, toolConfig=TOOLS))

    deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
    written = "".join(
        delta["delta"]["toolUse"]["input"] for delta in deltas if delta["contentBlockIndex"] == 0
    )
    assert json.loads(written) == plain["output"]["message"]["content"][0]["toolUse"]["input"]
    starts = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
    assert [start["start"]["toolUse"]["name"] for start in starts] == ["get_weather", "get_time"]


@pytest.mark.parametrize(
    ("choice", "name"), [({"any": {}}, "get_weather"), ({"tool": {"name": "get_time"}}, "get_time")]
)
def test_a_call_can_be_demanded(client: Any, choice: dict[str, Any], name: str):
    reply = client.converse(
        modelId="sandbox-small",
        messages=CAPITAL,
        toolConfig={"tools": [WEATHER, CLOCK], "toolChoice": choice},
    )

    assert [block["toolUse"]["name"] for block in reply["output"]["message"]["content"]] == [name]


def think(client: Any, messages: Any = CAPITAL) -> dict[str, Any]:
    own = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    reply: dict[str, Any] = client.converse(
        modelId="sandbox-frontier", messages=messages, additionalModelRequestFields=own
    )
    return reply


def test_thoughts_are_signed_and_known_again(client: Any):
    turn = think(client)["output"]["message"]
    thought = turn["content"][0]["reasoningContent"]["reasoningText"]
    following = [*CAPITAL, turn, {"role": "user", "content": [{"text": "And of Spain?"}]}]

    assert thought["text"]
    assert think(client, following)["stopReason"] == "end_turn"
    thought["text"] = "Something else."
    with pytest.raises(ClientError, match="signature") as raised:
        think(client, following)
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_thoughts_are_streamed_before_the_text(client: Any):
    own = {"thinking": {"type": "adaptive"}}
    events = read(
        client.converse_stream(
            modelId="sandbox-frontier",
            messages=CAPITAL,
            additionalModelRequestFields=own,
            outputConfig={"effort": "low"},
        )
    )

    steps = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
    thoughts = [step["delta"]["reasoningContent"] for step in steps if step["contentBlockIndex"] == 0]
    assert all("text" in thought for thought in thoughts[:-1])
    assert thoughts[-1].keys() == {"signature"}
    assert "text" in steps[-1]["delta"]


def test_a_schema_is_kept_to(client: Any):
    schema = json.dumps({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "place"}}}

    reply = client.converse(
        modelId="sandbox-frontier", messages=CAPITAL, outputConfig={"textFormat": text_format}
    )

    assert json.loads(reply["output"]["message"]["content"][0]["text"]).keys() == {"city"}


def test_limits_and_stop_sequences_end_a_reply(client: Any):
    short = client.converse(modelId="sandbox-frontier", messages=CAPITAL, inferenceConfig={"maxTokens": 2})
    stopped = client.converse(
        modelId="sandbox-frontier", messages=CAPITAL, inferenceConfig={"stopSequences": [" is"]}
    )

    assert (short["stopReason"], short["usage"]["outputTokens"]) == ("max_tokens", 2)
    assert stopped["output"]["message"]["content"][0]["text"] == "The capital of France"


def test_images_are_bytes_and_have_to_be_what_they_say(client: Any):
    def ask(image_format: str) -> dict[str, Any]:
        image = {"image": {"format": image_format, "source": {"bytes": PNG}}}
        messages = [{"role": "user", "content": [{"text": "What is this?"}, image]}]
        reply: dict[str, Any] = client.converse(modelId="sandbox-small", messages=messages)
        return reply

    assert ask("png")["usage"]["inputTokens"] > 85
    with pytest.raises(ClientError, match="Could not process image"):
        ask("jpeg")


def test_only_a_marked_prefix_is_cached(client: Any):
    system = [{"text": "Be brief about cached things. " * 400}]
    marked = [*system, {"cachePoint": {"type": "default"}}]

    def cached(system: Any) -> int:
        reply = client.converse(modelId="sandbox-mid", messages=CAPITAL, system=system)
        return int(reply["usage"]["cacheReadInputTokens"])

    assert [cached(system), cached(marked), cached(marked) > 1024, cached(system)] == [0, 0, True, 0]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"role": "assistant", "content": [{"text": "Hi"}]}], "start with a user message"),
        ([*CAPITAL, *CAPITAL], "alternate"),
        ([{"role": "user", "content": [{"text": " "}]}], "blank"),
        (
            [{"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": []}}]}],
            "toolConfig field must be defined",
        ),
    ],
)
def test_conversations_that_bedrock_refuses_are_refused(client: Any, messages: Any, problem: str):
    with pytest.raises(ClientError, match=problem) as raised:
        client.converse(modelId="sandbox-small", messages=messages)

    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_results_have_to_be_those_of_the_calls(client: Any):
    turn = client.converse(modelId="sandbox-frontier", messages=ASK_BOTH, toolConfig=TOOLS)["output"][
        "message"
    ]
    stray = {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": []}}]}

    with pytest.raises(ClientError, match="toolResult"):
        client.converse(modelId="sandbox-frontier", messages=[*ASK_BOTH, turn, stray], toolConfig=TOOLS)


@pytest.mark.parametrize(
    ("fault", "exception"),
    [
        ("400", "ValidationException"),
        ("403", "AccessDeniedException"),
        ("424", "ModelErrorException"),
        ("rate_limited", "ThrottlingException"),
        ("500", "InternalServerException"),
        ("503", "ServiceUnavailableException"),
    ],
)
def test_a_refusal_is_the_exception_of_its_status(
    client: Any, vendor: SandboxServer, fault: str, exception: str
):
    vendor.script(fault)

    with pytest.raises(ClientError) as raised:
        client.converse(modelId="sandbox-small", messages=CAPITAL)

    assert raised.value.response["Error"]["Code"] == exception


def test_an_unknown_model_and_a_prompt_that_is_too_long_are_refused(client: Any):
    with pytest.raises(ClientError) as raised:
        client.converse(modelId="anthropic.unknown-v1:0", messages=CAPITAL)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"

    with pytest.raises(ClientError, match="Input is too long"):
        endless = [{"role": "user", "content": [{"text": "word " * 20_000}]}]
        client.converse(modelId="sandbox-small", messages=endless)


def test_an_error_in_a_stream_is_an_exception_of_its_own(client: Any, vendor: SandboxServer):
    vendor.script(Fault(kind=FaultKind.STREAM_ERROR, status=429, message="Too many tokens."))

    with pytest.raises(EventStreamError, match=r"throttlingException.*Too many tokens"):
        read(client.converse_stream(modelId="sandbox-small", messages=CAPITAL))


def test_models_are_known_by_their_arn_too(client: Any):
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.sandbox-frontier:0"

    assert client.converse(modelId=arn, messages=CAPITAL)["stopReason"] == "end_turn"


def test_a_signature_with_another_key_is_refused(vendor: SandboxServer):
    with make_client(vendor, secret="wrong") as client, pytest.raises(ClientError) as raised:
        client.converse(modelId="sandbox-small", messages=CAPITAL)

    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("authorization", "exception"),
    [
        (None, "MissingAuthenticationTokenException"),
        ("Basic eA==", "MissingAuthenticationTokenException"),
        ("Bearer ABSKwrong", "AccessDeniedException"),
    ],
)
def test_whoever_neither_signs_nor_shows_the_key_is_refused(
    vendor: SandboxServer, authorization: str | None, exception: str
):
    headers = {} if authorization is None else {"authorization": authorization}

    reply = httpx.post(
        f"{vendor.origin}/model/sandbox-small/converse", json={"messages": CAPITAL}, headers=headers
    )

    assert (reply.status_code, reply.headers["x-amzn-errortype"]) == (403, exception)


def test_the_bill_is_what_was_reported(client: Any, vendor: SandboxServer):
    usage = client.converse(modelId="sandbox-mid", messages=CAPITAL)["usage"]
    entry = vendor.ledger.entries[-1]

    assert (entry.input_tokens, entry.output_tokens) == (usage["inputTokens"], usage["outputTokens"])
    assert entry.billed
