"""What the published catalogue says of a model, in Signalbox's own terms."""

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """A price, bucket by bucket, in nano-dollars per million tokens. The fields are called as those of a price row."""

    input_nanos: int
    cached_input_nanos: int
    cache_write_nanos: int
    output_nanos: int
    reasoning_nanos: int

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """The buckets by field name, in the order of a price row."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A model of the catalogue, and what it costs at the instant that was asked for.

    `notes` say what the amounts do not: what was taken the dearest of, assumed, or left out. `context_window_tokens` is
    None where the catalogue does not know it.
    """

    source: str
    vendor: str
    model_id: str
    amounts: Amounts
    notes: tuple[str, ...]
    context_window_tokens: int | None

    def __str__(self) -> str:
        return f"{self.vendor}/{self.model_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPublished:
    """The catalogue has no price to take, and why, as a sentence."""

    reason: str

    def __str__(self) -> str:
        return self.reason
