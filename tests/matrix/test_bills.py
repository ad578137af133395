"""A short form of the generated calls of `make matrix`."""

from tests.matrix.bills import settle_up
from tests.matrix.calls import generate
from tests.matrix.market import open_market
from tests.running_servers import RunningGateway


def test_each_generated_call_costs_what_its_vendor_bills_whatever_it_asks_for(
    gateway: RunningGateway,
) -> None:
    with open_market() as market:
        gateway.catch_up()
        calls = list(generate(market.vendors, count=300, seed=1))
        bill = settle_up(market, gateway, calls)

    assert bill.differences == []
    assert bill.cost_nanos == bill.billed_nanos > 0
    assert all(
        bill.tokens[name] > 0 for name in ("input", "cached_input", "cache_write", "output", "reasoning")
    )
