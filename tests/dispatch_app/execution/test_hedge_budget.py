from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.hedge_budget import HedgeBudget


def test_one_dispatch_in_twenty_may_hedge() -> None:
    budget = HedgeBudget()

    for _ in range(19):
        budget.count()
    assert not budget.spend()

    budget.count()
    assert budget.left == 1
    assert budget.spend()
    assert not budget.spend()


def test_what_can_be_saved_up_is_bounded() -> None:
    budget = HedgeBudget()
    for _ in range(100_000):
        budget.count()

    assert sum(budget.spend() for _ in range(100)) == 5


@given(st.lists(st.booleans(), max_size=600))
def test_never_more_than_five_percent(order: list[bool]) -> None:
    budget = HedgeBudget()
    dispatches = hedges = 0
    for is_dispatch in order:
        if is_dispatch:
            budget.count()
            dispatches += 1
        else:
            hedges += budget.spend()
        assert hedges <= 0.05 * dispatches
