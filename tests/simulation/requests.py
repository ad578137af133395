"""Requests, and what their clients see of the answers."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from dispatch_app.execution.canonical import Reply, Request, StreamPart
from dispatch_app.execution.dispatcher import Dispatch, StreamTail
from dispatch_app.execution.errors import DispatchError
from dispatch_app.gateway.admission import Admission
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import Capability
from tests.simulation.chance import Chance
from tests.simulation.fleet import nonce_of
from tests.simulation.setting import TASKS, Setting

FRAMING_TOKENS = 16


@dataclass(slots=True, kw_only=True)
class Connection:
    """What one client has received. Nothing may come after the last word, which is a reply, a tail or an error."""

    texts: dict[int, str] = field(default_factory=dict)
    last_word: Reply | StreamTail | DispatchError | None = None
    is_broken: bool = False
    bytes_after_the_end: int = 0

    @property
    def is_over(self) -> bool:
        return self.last_word is not None or self.is_broken

    def receive(self, part: StreamPart) -> None:
        if self.last_word is not None:
            self.bytes_after_the_end += 1
        self._add(part)

    def end(self, last_word: Reply | StreamTail | DispatchError) -> None:
        if self.last_word is not None:
            self.bytes_after_the_end += 1
        self.last_word = last_word
        if isinstance(last_word, StreamTail):
            for part in last_word.parts:
                self._add(part)
        elif isinstance(last_word, Reply):
            self.texts = {choice.index: choice.message["content"] for choice in last_word.choices}

    @property
    def is_success(self) -> bool:
        return isinstance(self.last_word, Reply | StreamTail)

    def _add(self, part: StreamPart) -> None:
        for choice in part.choices:
            self.texts[choice.index] = self.texts.get(choice.index, "") + (choice.delta.get("content") or "")


@dataclass(slots=True, kw_only=True)
class Manner:
    """How a client behaves: how slowly it reads, and when it hangs up (None: it stays)."""

    pause_s: float = 0.0
    hangs_up_after_s: float | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Visitor:
    """One request with all that becomes of it."""

    id: UUID
    tenant: int
    prompt: Prompt
    task: str
    timeout_ms: int | None
    arrives_at: float
    manner: Manner
    connection: Connection = field(default_factory=Connection)
    received_at: float = 0.0
    taken_at: datetime | None = None
    admission: Admission | None = None
    dispatch: Dispatch | None = None
    ended_at: float | None = None
    begun: int = 0
    is_ended_in_ledger: bool = False
    was_held_up: bool = False
    """Whether its process was frozen meanwhile: nothing can be said of its time."""
    was_cut: bool = False
    """Whether its process was stopped before it came to an end."""
    failure: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it: its dispatch has ended, or nobody is left to end it."""
        if self.was_cut:
            return True
        return self.connection.is_over if self.dispatch is None else self.ended_at is not None

    @property
    def nonce(self) -> str:
        return nonce_of(self.id)


def draw_visitor(
    chance: Chance, *, number: int, setting: Setting, arrives_at: float, is_patient: bool, model: str | None
) -> Visitor:
    """A request of some tenant for some policy, or for a model by its name."""
    request_id = UUID(int=(7 << 76) | (2 << 62) | (number << 96) | number)
    tenant = chance.number(1, 2)
    names = [*setting.policies] * 20 + [*setting.catalogue]
    text = f"{nonce_of(request_id)} asks" + "?" * chance.number(1, 60)
    fields: dict[str, object] = {"messages": [{"role": "user", "content": text}]}
    if chance.hits(0.15):
        fields["reasoning_effort"] = "low"
    if chance.hits(0.1):
        fields["logprobs"] = True
    stream = chance.hits(0.5)
    prompt = Prompt(
        model=model or chance.one_of(*names),
        request=Request(fields=fields, stream=stream, choices=chance.one_of(1, 1, 1, 2)),
        input_tokens=len(text) // 4,
        input_tokens_bound=len(text) + FRAMING_TOKENS,
        images=0,
        output_tokens=chance.one_of(None, 1, 30, 120),
        needs=frozenset({Capability.STREAMING}) if stream else frozenset(),
        end_user=chance.one_of("", "ann", "bob"),
        metadata={},
        includes_usage=False,
    )
    return Visitor(
        id=request_id,
        tenant=tenant,
        prompt=prompt,
        task=chance.one_of(*TASKS),
        timeout_ms=None if is_patient else chance.one_of(None, None, None, 80, 700),
        arrives_at=arrives_at,
        manner=Manner() if is_patient else _draw_manner(chance),
    )


def _draw_manner(chance: Chance) -> Manner:
    return Manner(
        pause_s=chance.one_of(0.0, 0.0, 0.0, 0.01, 0.4),
        hangs_up_after_s=chance.span(0.001, 3.0) if chance.hits(0.15) else None,
    )
