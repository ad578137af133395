"""The vendor's models: how fast, how dear and how often right each of them is."""

from dataclasses import dataclass

TOKENS_PER_PRICE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Nano-dollars per million tokens of each disjoint bucket.

    Every figure is a multiple of a million, so a token costs a whole number of nano-dollars and no
    bill depends on a rounding rule.
    """

    input_nanos: int
    cached_input_nanos: int
    output_nanos: int

    @property
    def cache_write_nanos(self) -> int:
        """A quarter more than for other input."""
        return self.input_nanos * 5 // 4

    def cost_nanos(
        self, *, input_tokens: int, cached_tokens: int, output_tokens: int, written_tokens: int = 0
    ) -> int:
        """Return the price of a call; `input_tokens` are those that were neither read from a cache nor written to one."""
        total = (
            input_tokens * self.input_nanos
            + cached_tokens * self.cached_input_nanos
            + written_tokens * self.cache_write_nanos
            + output_tokens * self.output_nanos
        )
        return total // TOKENS_PER_PRICE_UNIT


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorModel:
    """One model of the vendor. `accuracy` is the share of questions that it answers right.

    `effort` is how hard it thinks where nobody says. One that `is_choosy` refuses parameters, see `parameters`.
    """

    name: str
    price: Price
    accuracy: float
    first_token_ms: float
    per_token_ms: float
    context_limit_tokens: int
    output_limit_tokens: int
    effort: str = ""
    is_choosy: bool = False


SMALL = VendorModel(
    name="sandbox-small",
    price=Price(input_nanos=100_000_000, cached_input_nanos=25_000_000, output_nanos=400_000_000),
    accuracy=0.60,
    first_token_ms=80,
    per_token_ms=3,
    context_limit_tokens=16_384,
    output_limit_tokens=4_096,
)
MID = VendorModel(
    name="sandbox-mid",
    price=Price(input_nanos=600_000_000, cached_input_nanos=150_000_000, output_nanos=2_400_000_000),
    accuracy=0.85,
    first_token_ms=200,
    per_token_ms=8,
    context_limit_tokens=128_000,
    output_limit_tokens=16_384,
)
FRONTIER = VendorModel(
    name="sandbox-frontier",
    price=Price(input_nanos=5_000_000_000, cached_input_nanos=500_000_000, output_nanos=25_000_000_000),
    accuracy=0.98,
    first_token_ms=450,
    per_token_ms=18,
    context_limit_tokens=200_000,
    output_limit_tokens=32_768,
)
REASONER = VendorModel(
    name="sandbox-reasoner",
    price=Price(input_nanos=10_000_000_000, cached_input_nanos=1_000_000_000, output_nanos=40_000_000_000),
    accuracy=0.99,
    first_token_ms=600,
    per_token_ms=20,
    context_limit_tokens=200_000,
    output_limit_tokens=32_768,
    effort="medium",
    is_choosy=True,
)

EMBEDDING = VendorModel(
    name="sandbox-embedding",
    price=Price(input_nanos=20_000_000, cached_input_nanos=20_000_000, output_nanos=0),
    accuracy=1,
    first_token_ms=40,
    per_token_ms=0,
    context_limit_tokens=8_192,
    output_limit_tokens=1,
)
"""Gives vectors and no words."""

FLEET: dict[str, VendorModel] = {model.name: model for model in (SMALL, MID, FRONTIER, REASONER)}
"""The models that write."""
MODELS: dict[str, VendorModel] = {**FLEET, EMBEDDING.name: EMBEDDING}
