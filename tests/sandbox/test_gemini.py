"""Google's own client cannot tell the sandbox from the Gemini API."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from google.genai.errors import APIError, ClientError, ServerError
from pydantic import BaseModel

from sandbox.faults import Fault, FaultKind
from sandbox.fleet import FLEET
from sandbox.server import SandboxServer, serve_in_thread

API_KEY = "AIza-vendor-key"
CAPITAL = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
BOTH = "Use get_weather and get_time for Paris."
PNG = base64.b64decode("iVBORw0KGgo=")
WEATHER = types.FunctionDeclaration(
    name="get_weather",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}},
)
CLOCK = types.FunctionDeclaration(
    name="get_time",
    parameters=types.Schema(
        type=types.Type.OBJECT, properties={"zone": types.Schema(type=types.Type.STRING)}
    ),
)
NO_LOOP = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture(scope="module")
def vendor() -> Iterator[SandboxServer]:
    with serve_in_thread(SandboxServer(api_key=API_KEY)) as server:
        yield server


@pytest.fixture(autouse=True)
def _without_faults(vendor: SandboxServer) -> Iterator[None]:
    yield
    vendor.clear_faults()


@pytest.fixture(scope="module")
def client(vendor: SandboxServer) -> Iterator[genai.Client]:
    with make_client(vendor) as client:
        yield client


def make_client(vendor: SandboxServer, *, api_key: str = API_KEY) -> genai.Client:
    return genai.Client(
        api_key=api_key, http_options=types.HttpOptions(base_url=vendor.origin, api_version="v1beta")
    )


def ask(client: genai.Client, contents: Any = CAPITAL, **config: Any) -> types.GenerateContentResponse:
    return client.models.generate_content(
        model="sandbox-frontier",
        contents=contents,
        config=types.GenerateContentConfig(automatic_function_calling=NO_LOOP, **config),
    )


def stream(
    client: genai.Client, contents: Any = CAPITAL, **config: Any
) -> list[types.GenerateContentResponse]:
    return list(
        client.models.generate_content_stream(
            model="sandbox-frontier",
            contents=contents,
            config=types.GenerateContentConfig(automatic_function_calling=NO_LOOP, **config),
        )
    )


def tools(**calling: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"tools": [types.Tool(function_declarations=[WEATHER, CLOCK])]}
    if calling:
        config["tool_config"] = types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(**calling)
        )
    return config


def parts_of(reply: types.GenerateContentResponse) -> list[types.Part]:
    content = (reply.candidates or [])[0].content
    return [] if content is None else content.parts or []


def user(*parts: types.Part) -> types.Content:
    return types.Content(role="user", parts=list(parts))


def results(calls: list[types.FunctionCall]) -> types.Content:
    return user(
        *(
            types.Part(
                function_response=types.FunctionResponse(id=call.id, name=call.name, response={"ok": True})
            )
            for call in calls
        )
    )


def post(vendor: SandboxServer, method: str = "generateContent", **body: Any) -> httpx.Response:
    return httpx.post(
        f"{vendor.origin}/v1beta/models/sandbox-small:{method}",
        json={"contents": [{"parts": [{"text": "Hi"}]}], **body},
        headers={"x-goog-api-key": API_KEY},
    )


def test_a_reply_has_the_shape_of_the_api(client: genai.Client):
    reply = ask(client)

    assert reply.text == ANSWER
    assert reply.model_version == "sandbox-frontier"
    assert reply.response_id
    (candidate,) = reply.candidates or []
    assert (candidate.finish_reason, candidate.index) == (types.FinishReason.STOP, 0)
    assert candidate.content is not None
    assert candidate.content.role == "model"


def test_thoughts_are_counted_beside_what_is_said(client: genai.Client, vendor: SandboxServer):
    """The models think unless they are told not to, and so more is billed than is seen."""
    usage = ask(client).usage_metadata
    entry = vendor.ledger.entries[-1]
    without = ask(client, thinking_config=types.ThinkingConfig(thinking_budget=0)).usage_metadata

    assert usage is not None
    assert without is not None
    assert usage.thoughts_token_count == 16
    assert without.thoughts_token_count is None
    assert usage.candidates_token_count == without.candidates_token_count
    assert usage.total_token_count == (usage.prompt_token_count or 0) + entry.output_tokens
    assert entry.output_tokens == (usage.candidates_token_count or 0) + 16
    assert entry.input_tokens == usage.prompt_token_count
    assert entry.billed


def test_a_stream_says_the_same_as_a_reply_and_counts_as_it_goes(client: genai.Client):
    plain = ask(client)
    chunks = stream(client)

    assert "".join(chunk.text or "" for chunk in chunks) == plain.text
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert reasons == [None] * (len(chunks) - 1) + [types.FinishReason.STOP]
    usages = [chunk.usage_metadata for chunk in chunks]
    counts = [usage.total_token_count or 0 for usage in usages if usage is not None]
    assert counts == sorted(counts)
    assert usages[-1] == plain.usage_metadata
    assert len({chunk.response_id for chunk in chunks}) == 1


@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_in_parallel_and_answered(client: genai.Client, streams: bool):
    """The first of the calls is signed, and has to come back so."""
    if streams:
        parts = [part for chunk in stream(client, BOTH, **tools()) for part in parts_of(chunk)]
    else:
        parts = parts_of(ask(client, BOTH, **tools()))
    called = [part for part in parts if part.function_call is not None]
    calls = [part.function_call for part in called if part.function_call is not None]
    turn = types.Content(role="model", parts=called)

    answered = ask(client, [user(types.Part(text=BOTH)), turn, results(calls)], **tools())

    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert all(isinstance(call.args, dict) and call.id for call in calls)
    assert [part.thought_signature is not None for part in called] == [True, False]
    assert answered.text


def test_the_clients_own_loop_of_calls_works(client: genai.Client):
    def get_weather(city: str) -> str:
        """Tell the weather."""
        return f"Rain in {city}."

    reply = client.models.generate_content(
        model="sandbox-frontier",
        contents="Use get_weather for Paris.",
        config=types.GenerateContentConfig(tools=[get_weather]),
    )

    assert reply.text
    assert reply.automatic_function_calling_history
    assert len(reply.automatic_function_calling_history) == 3


def test_a_chat_keeps_its_signatures(client: genai.Client):
    chat = client.chats.create(
        model="sandbox-frontier",
        config=types.GenerateContentConfig(
            thinking_config=types.ThinkingConfig(thinking_budget=-1, include_thoughts=True)
        ),
    )

    first = chat.send_message(CAPITAL)
    streamed = list(chat.send_message_stream("And what is the capital of Spain?"))
    last = chat.send_message(CAPITAL)

    assert [part.thought for part in parts_of(first)] == [True, None]
    assert parts_of(first)[1].thought_signature
    assert "".join(chunk.text or "" for chunk in streamed)
    assert last.text


@pytest.mark.parametrize(
    ("calling", "called"),
    [
        ({"mode": "ANY"}, ["get_weather"]),
        ({"mode": "ANY", "allowed_function_names": ["get_time"]}, ["get_time"]),
        ({"mode": "NONE"}, []),
        ({"mode": "VALIDATED"}, []),
    ],
)
def test_calls_can_be_demanded_and_forbidden(client: genai.Client, calling: Any, called: list[str]):
    reply = ask(client, **tools(**calling))

    assert [call.name for call in reply.function_calls or []] == called


class Place(BaseModel):
    city: str
    size: int


@pytest.mark.parametrize(
    "schema",
    [{"response_schema": Place}, {"response_json_schema": Place.model_json_schema()}],
    ids=["openapi", "json_schema"],
)
def test_a_schema_is_kept_to(client: genai.Client, schema: dict[str, Any]):
    reply = ask(client, response_mime_type="application/json", **schema)

    place = Place.model_validate_json(reply.text or "")
    assert place.city == ANSWER


def test_several_candidates_are_streamed_in_turns(client: genai.Client):
    plain = ask(client, candidate_count=2, seed=7)
    texts = ["", ""]
    for chunk in stream(client, candidate_count=2, seed=7):
        for candidate in chunk.candidates or []:
            texts[candidate.index or 0] += (
                candidate.content and candidate.content.parts and candidate.content.parts[0].text
            ) or ""

    assert texts == [
        candidate.content.parts[0].text
        for candidate in plain.candidates or []
        if candidate.content and candidate.content.parts
    ]


def test_limits_and_stop_sequences_end_a_reply(client: genai.Client):
    no_thoughts = types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL)
    short = ask(client, max_output_tokens=2, thinking_config=no_thoughts)
    stopped = ask(client, stop_sequences=[" is"])
    exhausted = ask(client, max_output_tokens=10)

    assert (short.candidates or [])[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert short.usage_metadata is not None
    assert short.usage_metadata.candidates_token_count == 2
    assert stopped.text == "The capital of France"
    assert parts_of(exhausted) == []
    assert exhausted.usage_metadata is not None
    assert exhausted.usage_metadata.thoughts_token_count == 10


def test_images_are_bytes_or_addresses_and_have_to_be_what_they_say(client: genai.Client):
    def look(image: types.Part) -> int:
        usage = ask(client, [types.Part(text="What is this?"), image]).usage_metadata
        return 0 if usage is None else usage.prompt_token_count or 0

    assert look(types.Part.from_bytes(data=PNG, mime_type="image/png")) > 85
    assert look(types.Part.from_uri(file_uri="https://example.com/a.png", mime_type="image/png")) > 85
    with pytest.raises(ClientError, match="Unable to process input image"):
        look(types.Part.from_bytes(data=PNG, mime_type="image/jpeg"))
    with pytest.raises(ClientError, match="Unsupported MIME type: image/gif"):
        look(types.Part.from_bytes(data=b"GIF89a", mime_type="image/gif"))
    with pytest.raises(ClientError, match="unsupported file uri"):
        look(types.Part.from_uri(file_uri="http://example.com/a.png", mime_type="image/png"))


def test_long_prompts_are_cached_unasked(client: genai.Client):
    system = "Know this about implicit caching. " * 300

    def cached() -> int | None:
        usage = ask(client, system_instruction=system).usage_metadata
        return None if usage is None else usage.cached_content_token_count

    assert cached() is None
    again = cached()
    assert again is not None
    assert again > 1024


def test_safety_settings_are_accepted(client: genai.Client):
    setting = types.SafetySetting(
        category=types.HarmCategory.HARM_CATEGORY_HARASSMENT, threshold=types.HarmBlockThreshold.BLOCK_NONE
    )

    assert ask(client, safety_settings=[setting]).text == ANSWER


def test_a_scripted_refusal_is_a_blocked_prompt(client: genai.Client, vendor: SandboxServer):
    vendor.script(Fault(kind=FaultKind.CONTENT, refusal=""))

    for reply in (ask(client), stream(client)[0]):
        assert reply.candidates is None
        assert reply.prompt_feedback is not None
        assert reply.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
        assert reply.usage_metadata is not None


def test_an_answer_can_be_cut_off_by_a_filter(client: genai.Client, vendor: SandboxServer):
    vendor.script(Fault(kind=FaultKind.CONTENT, content="It", finish_reason="content_filter"))

    assert (ask(client).candidates or [])[0].finish_reason == types.FinishReason.SAFETY


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"foo": 1}, 'Unknown name "foo": Cannot find field.'),
        (
            {"generationConfig": {"thinkingConfig": {"bar": 1}}},
            "Unknown name \"bar\" at 'generation_config.thinking_config': Cannot find field.",
        ),
        (
            {"contents": [{"parts": [{"text": "Hi", "cache_control": {}}]}]},
            "Unknown name \"cacheControl\" at 'contents[0].parts[0]'",
        ),
        ({"generationConfig": {"temperature": 2.5}}, "generation_config.temperature"),
        ({"generationConfig": {"topP": 1.5}}, "generation_config.top_p"),
        ({"generationConfig": {"candidateCount": 9}}, "generation_config.candidate_count"),
        ({"generationConfig": {"stopSequences": list("abcdef")}}, "generation_config.stop_sequences"),
        ({"generationConfig": {"frequencyPenalty": 2}}, "generation_config.frequency_penalty"),
        ({"generationConfig": {"responseLogprobs": True}}, "Logprobs is not enabled"),
        ({"generationConfig": {"responseJsonSchema": {}}}, "application/json"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}},
            "thinking budget and thinking level",
        ),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "Hi"}]}]}, "valid role: user, model"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"contents": [{"parts": [{"thought": True}]}]}, "required oneof field 'data'"),
        ({"contents": [{"role": "model", "parts": [{"text": "Hi"}]}]}, "ending with a model turn"),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]},
            "immediately after a function call turn",
        ),
    ],
)
def test_what_google_refuses_is_refused(vendor: SandboxServer, body: dict[str, Any], problem: str):
    reply = post(vendor, **body)

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert problem in error["message"]


def test_a_refused_field_is_named_for_machines_too(vendor: SandboxServer):
    (detail,) = post(vendor, generationConfig={"foo": 1}).json()["error"]["details"]

    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["field"] == "generation_config"


def test_fields_may_be_spelt_in_snake_case(vendor: SandboxServer):
    reply = post(vendor, generation_config={"max_output_tokens": 100, "response_mime_type": "text/plain"})

    assert reply.status_code == 200


def call_turns(*, signature: str | None, response: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    call: dict[str, Any] = {"functionCall": {"name": "get_weather", "args": {}}}
    if signature is not None:
        call["thoughtSignature"] = signature
    result = {"name": "get_weather", "response": {}} if response is None else response
    return [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [call]},
        {"role": "user", "parts": [{"functionResponse": result}]},
    ]


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        (call_turns(signature=None), "function call `default_api:get_weather` , position 2"),
        (call_turns(signature="c29tZXRoaW5n"), "Corrupted thought signature"),
        (call_turns(signature="no base64!"), "Corrupted thought signature"),
        (call_turns(signature="skip_thought_signature_validator")[:2], "ending with a model turn"),
        (
            call_turns(
                signature="skip_thought_signature_validator", response={"name": "other", "response": {}}
            ),
            "answers a function call",
        ),
        (
            call_turns(
                signature="skip_thought_signature_validator",
                response={"name": "get_weather", "response": {}, "id": "unknown"},
            ),
            "answers a function call",
        ),
    ],
)
def test_calls_and_results_that_do_not_fit_are_refused(vendor: SandboxServer, turns: Any, problem: str):
    declared = [{"functionDeclarations": [{"name": "get_weather"}]}]

    reply = post(vendor, contents=turns, tools=declared)

    assert reply.status_code == 400
    assert problem in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "signature",
    [
        "skip_thought_signature_validator",
        "context_engineering_is_the_way_to_go",
        base64.b64encode(b"skip_thought_signature_validator").decode(),
    ],
)
def test_calls_of_another_model_are_taken_with_the_signature_that_says_so(
    vendor: SandboxServer, signature: str
):
    assert post(vendor, contents=call_turns(signature=signature)).status_code == 200


def test_a_stream_of_calls_may_come_back_as_the_pieces_that_came(client: genai.Client):
    """Google's client keeps each piece of a stream as a content of its own."""
    chat = client.chats.create(
        model="sandbox-frontier",
        config=types.GenerateContentConfig(automatic_function_calling=NO_LOOP, **tools()),
    )
    calls = [call for chunk in chat.send_message_stream(BOTH) for call in chunk.function_calls or []]

    answered = chat.send_message(list(results(calls).parts or []))

    assert len(calls) == 2
    assert answered.text


def test_calls_before_the_users_last_words_need_no_signature(vendor: SandboxServer):
    later = {"role": "user", "parts": [{"text": "Thanks."}]}
    told = {"role": "model", "parts": [{"text": "Rain."}]}

    assert post(vendor, contents=[*call_turns(signature=None), told, later]).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("400", "INVALID_ARGUMENT"),
        ("403", "PERMISSION_DENIED"),
        ("404", "NOT_FOUND"),
        ("rate_limited", "RESOURCE_EXHAUSTED"),
        ("500", "INTERNAL"),
        ("503", "UNAVAILABLE"),
        ("504", "DEADLINE_EXCEEDED"),
    ],
)
def test_a_refusal_is_a_status(client: genai.Client, vendor: SandboxServer, fault: str, status: str):
    vendor.script(fault)

    with pytest.raises((ClientError, ServerError)) as raised:
        ask(client)

    assert raised.value.status == status


def test_when_to_come_back_stands_in_the_body(vendor: SandboxServer):
    vendor.script("rate_limited")

    reply = post(vendor)

    assert "retry-after" not in reply.headers
    (detail,) = reply.json()["error"]["details"]
    assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}


def test_a_quota_that_is_used_up_is_named(client: genai.Client, vendor: SandboxServer):
    vendor.script("insufficient_quota")

    with pytest.raises(ClientError) as raised:
        ask(client)

    (detail,) = raised.value.details["error"]["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
    assert "PerDay" in detail["violations"][0]["quotaId"]


def test_an_error_in_a_stream_is_raised(client: genai.Client, vendor: SandboxServer):
    vendor.script(Fault(kind=FaultKind.STREAM_ERROR, status=503, message="Overloaded."))

    with pytest.raises(APIError) as raised:
        stream(client)

    assert (raised.value.code, raised.value.status) == (503, "UNAVAILABLE")


def test_an_unknown_model_and_a_prompt_that_is_too_long_are_refused(client: genai.Client):
    with pytest.raises(ClientError) as raised:
        client.models.generate_content(model="gemini-unknown", contents=CAPITAL)
    assert raised.value.status == "NOT_FOUND"

    with pytest.raises(ClientError, match="input token count exceeds"):
        client.models.generate_content(model="sandbox-small", contents="word " * 20_000)


def test_a_wrong_key_is_a_bad_request(vendor: SandboxServer):
    with make_client(vendor, api_key="AIza-wrong") as client, pytest.raises(ClientError) as raised:
        ask(client)

    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
    assert raised.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_the_key_may_stand_in_the_address_and_has_to_stand_somewhere(vendor: SandboxServer):
    url = f"{vendor.origin}/v1beta/models/sandbox-small:generateContent"
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}

    assert httpx.post(f"{url}?key={API_KEY}", json=body).status_code == 200
    refused = httpx.post(url, json=body)
    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_models_are_listed(client: genai.Client):
    names = [model.name for model in client.models.list()]

    assert names[:3] == ["models/sandbox-small", "models/sandbox-mid", "models/sandbox-frontier"]
    assert client.models.get(model="sandbox-mid").output_token_limit == 16_384
    with pytest.raises(ClientError):
        client.models.get(model="gemini-unknown")


def test_whatever_the_vendor_does_not_speak_is_refused(vendor: SandboxServer):
    assert post(vendor, "embedContent").status_code == 404
    assert post(vendor, "streamGenerateContent").status_code == 501


@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
def test_either_version_is_spoken(vendor: SandboxServer, version: str | None):
    options = types.HttpOptions(base_url=vendor.origin, api_version=version)

    with genai.Client(api_key=API_KEY, http_options=options) as client:
        assert ask(client).text == ANSWER
        assert len(list(client.models.list())) == len(FLEET)
