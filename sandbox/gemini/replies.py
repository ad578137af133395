"""What the vendor says, as Gemini's API says it, whole and streamed."""

from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest
from typing import Any

import msgspec

from sandbox.completion import Choice, Completion, ToolCall
from sandbox.errors import ApiError
from sandbox.gemini.signatures import sign_call, sign_text
from sandbox.google_rpc import TOO_LONG, bad_request, error_info, status_body
from sandbox.thoughts import think
from sandbox.tokens import count_tokens, split_tokens
from sandbox.wire import Framing, Piece, Reply

Fields = dict[str, Any]
_Step = tuple[Fields, int]
"""The next bit of a candidate, and the output tokens that it carries."""

_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
"""Scripted reasons that Google has words for itself stay as they are."""
_BLOCKED = "PROHIBITED_CONTENT"


def render_reply(completion: Completion, *, usage: Mapping[str, Any] | None) -> Reply:
    """Return a plain reply. `usage` has OpenAI's names; with None, it reports none."""
    said = (
        _feedback()
        if _is_blocked(completion)
        else {"candidates": [_candidate(completion, choice) for choice in completion.choices]}
    )
    return Reply.json(said | _metadata(usage) | _envelope(completion))


def render_events(
    completion: Completion, *, usage: Mapping[str, Any] | None, per_token_ms: float = 0
) -> Reply:
    """Return a completion as a stream of server-sent events, one piece each. What was used so far is told with each."""
    pieces = [
        Piece(
            data=b"data: " + msgspec.json.encode(said | _envelope(completion)) + b"\r\n\r\n",
            delay_ms=per_token_ms * output_tokens,
            output_tokens=output_tokens,
        )
        for said, output_tokens in _events(completion, usage)
    ]
    return Reply(headers=(("content-type", "text/event-stream"),), pieces=pieces, framing=Framing.CHUNKED)


def render_refusal(error: ApiError) -> Reply:
    """Return the reply that tells of an error."""
    told = error.body["error"]
    message = TOO_LONG if told["code"] == "context_length_exceeded" else told["message"]
    details = []
    if told["code"] == "API_KEY_INVALID":
        details = [error_info(told["code"])]
    elif error.status == 400 and told["param"]:
        details = [bad_request(told["param"], message)]
    return Reply.json(status_body(status=error.status, message=message, details=details), status=error.status)


def _is_blocked(completion: Completion) -> bool:
    """A scripted refusal is that of the prompt."""
    return any(choice.is_refusal for choice in completion.choices)


def _feedback() -> Fields:
    return {"promptFeedback": {"blockReason": _BLOCKED}}


def _envelope(completion: Completion) -> Fields:
    return {
        "modelVersion": completion.model.name,
        "responseId": completion.id.removeprefix("chatcmpl-"),
    }


def _candidate(completion: Completion, choice: Choice) -> Fields:
    """A candidate without a word has no parts at all."""
    parts = list(_parts(completion, choice))
    content = {"role": "model"} | ({"parts": parts} if parts else {})
    return {"content": content, "finishReason": _finish_reason(choice), "index": choice.index}


def _parts(completion: Completion, choice: Choice) -> Iterator[Fields]:
    if completion.shows_thoughts and (thought := think(completion.reasoning_of_one)):
        yield {"text": thought, "thought": True}
    if choice.tokens:
        yield {"text": "".join(choice.tokens)} | _signed_text(completion, choice)
    for index, call in enumerate(choice.tool_calls):
        yield _call(call, is_first=index == 0)


def _signed_text(completion: Completion, choice: Choice) -> Fields:
    """Where nothing was called, what was thought is signed with the text."""
    if choice.tool_calls or not completion.reasoning_of_one or not choice.tokens:
        return {}
    return {"thoughtSignature": sign_text("".join(choice.tokens))}


def _call(call: ToolCall, *, is_first: bool) -> Fields:
    """Of the calls that are made at once, the first is signed."""
    arguments = msgspec.json.decode(call.arguments)
    told = {"name": call.name, "args": arguments, "id": call.id.removeprefix("call_")}
    signature = {"thoughtSignature": sign_call(call.name, arguments)} if is_first else {}
    return {"functionCall": told} | signature


def _events(completion: Completion, usage: Mapping[str, Any] | None) -> Iterator[_Step]:
    if _is_blocked(completion):
        yield _feedback() | _metadata(usage), completion.usage.completion_tokens
        return
    lanes = [_steps(completion, choice) for choice in completion.choices]
    steps = [step for step in chain.from_iterable(zip_longest(*lanes)) if step is not None]
    so_far = 0
    for place, (candidate, output_tokens) in enumerate(steps, 1):
        so_far += output_tokens
        told = usage if usage is None or place == len(steps) else {**usage, "completion_tokens": so_far}
        yield {"candidates": [candidate]} | _metadata(told), output_tokens


def _steps(completion: Completion, choice: Choice) -> Iterator[_Step]:
    """What was thought is generated before the first word, whether it is shown or not."""
    unseen = 0 if completion.shows_thoughts else completion.reasoning_of_one
    shown = completion.reasoning_of_one - unseen
    said: list[tuple[Fields, int]] = [
        ({"text": token, "thought": True}, 1) for token in split_tokens(think(shown))
    ]
    said += [({"text": token}, 1) for token in choice.tokens]
    said += [
        (_call(call, is_first=index == 0), count_tokens(call.name) + count_tokens(call.arguments))
        for index, call in enumerate(choice.tool_calls)
    ]
    for part, output_tokens in said:
        yield _step(choice, part), output_tokens + unseen
        unseen = 0
    last = {"text": ""} | _signed_text(completion, choice)
    yield _step(choice, last) | {"finishReason": _finish_reason(choice)}, unseen


def _step(choice: Choice, part: Fields) -> Fields:
    return {"content": {"parts": [part], "role": "model"}, "index": choice.index}


def _metadata(usage: Mapping[str, Any] | None) -> Fields:
    """Cached tokens are inside the prompt's count, thoughts beside what is said. A count of zero is left out."""
    if usage is None:
        return {}
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    thoughts = min(usage["completion_tokens_details"]["reasoning_tokens"], output)
    told = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": output - thoughts,
        "totalTokenCount": prompt + output,
        "cachedContentTokenCount": cached,
        "thoughtsTokenCount": thoughts,
    }
    told = {name: count for name, count in told.items() if count}
    told["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    if cached:
        told["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": cached}]
    return {"usageMetadata": told}


def _finish_reason(choice: Choice) -> str:
    return _FINISH_REASONS.get(choice.finish_reason, choice.finish_reason)
