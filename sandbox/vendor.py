"""The vendor's API: one HTTP request in, one reply and its bill out. Performs no I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from sandbox import gemini, openai_chat
from sandbox.chat import ChatRequest
from sandbox.completion import Completion, Usage, complete
from sandbox.embeddings import embed
from sandbox.errors import ApiError
from sandbox.faults import ErrorShape, Fault
from sandbox.fleet import EMBEDDING, FLEET, MODELS, VendorModel
from sandbox.formats import EmbeddingFormat, WireFormat, embedding_format_of, format_of
from sandbox.ledger import RequestJournal, VendorLedger
from sandbox.misbehaviour import misbehave, reported_usage
from sandbox.prompt_cache import NOTHING_CACHED, CacheUse, PromptCache
from sandbox.scripts import FaultBoard, parse_script
from sandbox.speech import UNSCRIPTED
from sandbox.wire import HttpRequest, Reply

SCRIPT_METADATA_KEY = "sandbox"
_KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")

_MODELS_CREATED_AT = 1_767_225_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a reply ended: whether all of it was sent, the tokens of the pieces that were not, and who left."""

    seen: bool
    unsent_tokens: int
    client_left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A reply to perform, and whom to tell how it ended."""

    reply: Reply
    on_end: Callable[[Ended], None] | None = None


class Vendor:
    """Models that write, and one that embeds, behind vendors' APIs, with their faults, their bill and a memory of what was sent.

    `speed` divides the models' own latencies: 1 is life-like, infinity has none. Scripted delays are
    exact at any speed.
    """

    def __init__(self, *, speed: float, api_key: str | None) -> None:
        self.faults = FaultBoard()
        self.ledger = VendorLedger()
        self.journal = RequestJournal()
        self._speed = speed
        self._api_key = api_key
        self._prompt_cache = PromptCache()

    def handle(self, request: HttpRequest) -> Exchange:
        """Answer one request; whatever is wrong with it is told in the reply."""
        self.journal.record(request)
        spoken = format_of(request)
        try:
            spoken.authenticate(request, api_key=self._api_key)
            return self._route(request, spoken)
        except ApiError as error:
            return Exchange(reply=spoken.render_refusal(error))

    def _route(self, request: HttpRequest, spoken: WireFormat) -> Exchange:
        if (embedding_format := embedding_format_of(request)) is not None:
            return self._embed(request, spoken, embedding_format)
        if spoken is gemini and request.head.method == "GET":
            return Exchange(reply=gemini.render_models(request))
        if spoken is not openai_chat:
            return self._complete(request, spoken)
        match request.head.method, request.path:
            case "POST", "/v1/chat/completions":
                return self._complete(request, spoken)
            case "GET", "/v1/models":
                models = [_describe_model(model) for model in MODELS.values()]
                return Exchange(reply=Reply.json({"object": "list", "data": models}))
            case "GET", path if path.startswith("/v1/models/"):
                return Exchange(
                    reply=Reply.json(_describe_model(_find_model(path.removeprefix("/v1/models/"), MODELS)))
                )
            case method, path:
                raise ApiError(status=404, message=f"Invalid URL ({method} {path})", code="unknown_url")

    def _complete(self, request: HttpRequest, spoken: WireFormat) -> Exchange:
        chat = spoken.read_chat(request)
        model = _find_model(chat.model, FLEET)
        _check_context(chat, model)
        fault = _in_shape(self._scripted_fault(chat, request), spoken)
        cache = self._use_cache(chat, request, spoken)
        completion = complete(chat, model=model, cache=cache, speech=fault or UNSCRIPTED)
        reply = self._render(chat, completion, fault, spoken)
        call = _Call(
            id=completion.id,
            model=model.name,
            usage=completion.usage,
            prompt=chat.transcript,
            streamed=bool(chat.stream),
        )
        return self._bill(call, fault, reply)

    def _embed(self, request: HttpRequest, spoken: WireFormat, embedding_format: EmbeddingFormat) -> Exchange:
        model, asked = embedding_format.model_of(request), embedding_format.read_texts(request)
        fault = _in_shape(self._fault_for(model, request), spoken)
        embedding = embed(asked)
        usage = reported_usage(fault, embedding.usage.as_wire())
        reply = embedding_format.render_vectors(request, embedding, usage=usage)
        call = _Call(
            id=embedding.id, model=model, usage=embedding.usage, prompt=asked.transcript, streamed=False
        )
        return self._bill(call, fault, replace(reply, delay_ms=EMBEDDING.first_token_ms / self._speed))

    def _use_cache(self, chat: ChatRequest, request: HttpRequest, spoken: WireFormat) -> CacheUse:
        if not spoken.caches_prompt(request):
            return NOTHING_CACHED
        cache = self._prompt_cache.look_up(model=chat.model, prompt=chat.transcript)
        return cache if spoken.BILLS_CACHE_WRITES else replace(cache, written=0)

    def _scripted_fault(self, chat: ChatRequest, request: HttpRequest) -> Fault | None:
        if carried := (chat.metadata or {}).get(SCRIPT_METADATA_KEY):
            try:
                script = parse_script(carried)
            except ValueError as error:
                raise ApiError(status=400, message=f"Invalid fault: {error}", param="metadata") from error
            if script.matches(model=chat.model, text=""):
                return script.fault
        return self._fault_for(chat.model, request)

    def _fault_for(self, model: str, request: HttpRequest) -> Fault | None:
        shown = (request.head.header(name) or "" for name in _KEY_HEADERS)
        text = request.body.decode(errors="replace")
        return self.faults.take(model=model, text=text, keys=" ".join(shown))

    def _render(
        self, chat: ChatRequest, completion: Completion, fault: Fault | None, spoken: WireFormat
    ) -> Reply:
        usage = reported_usage(fault, completion.usage.as_wire())
        first_token_ms = completion.model.first_token_ms / self._speed
        per_token_ms = completion.model.per_token_ms / self._speed
        if chat.stream:
            usage = usage if chat.includes_usage else None
            reply = spoken.render_events(completion, usage=usage, per_token_ms=per_token_ms)
            return replace(reply, delay_ms=first_token_ms)
        reply = spoken.render_reply(completion, usage=usage)
        return replace(reply, delay_ms=first_token_ms + per_token_ms * completion.usage.completion_tokens)

    def _bill(self, call: "_Call", fault: Fault | None, reply: Reply) -> Exchange:
        """Bill a call, and send the reply as the fault wants it."""
        entry = self.ledger.open(
            id=call.id,
            model=call.model,
            usage=call.usage,
            prompt=call.prompt,
            streamed=call.streamed,
            fault=None if fault is None else fault.kind,
            billed=fault is None or fault.is_billed,
        )

        def close(ended: Ended) -> None:
            self.ledger.close(
                entry.id,
                seen=ended.seen,
                ungenerated_tokens=ended.unsent_tokens,
                client_left=ended.client_left,
            )

        return Exchange(reply=reply if fault is None else misbehave(fault, reply), on_end=close)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What is billed."""

    id: str
    model: str
    usage: Usage
    prompt: str
    streamed: bool


def _in_shape(fault: Fault | None, spoken: WireFormat) -> Fault | None:
    """A fault whose error is written down as the caller's format does, where it does not say how."""
    if fault is None or fault.shape is not ErrorShape.OPENAI:
        return fault
    return msgspec.structs.replace(fault, shape=spoken.ERROR_SHAPE)


def _find_model(name: str, models: Mapping[str, VendorModel]) -> VendorModel:
    try:
        return models[name]
    except KeyError:
        raise ApiError(
            status=404,
            message=f"The model `{name}` does not exist or you do not have access to it.",
            code="model_not_found",
        ) from None


def _describe_model(model: VendorModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": _MODELS_CREATED_AT, "owned_by": "sandbox"}


def _check_context(chat: ChatRequest, model: VendorModel) -> None:
    tokens = chat.count_prompt_tokens()
    if tokens > model.context_limit_tokens:
        raise ApiError(
            status=400,
            message=f"This model's maximum context length is {model.context_limit_tokens} tokens. However, "
            f"your messages resulted in {tokens} tokens.",
            param="messages",
            code="context_length_exceeded",
        )
