from dispatch_app.execution.retry_budget import RetryBudget


def spend_all(budget: RetryBudget, *, now: float) -> int:
    spent = 0
    while budget.spend(now=now):
        spent += 1
    return spent


def test_a_few_retries_are_always_there() -> None:
    budget = RetryBudget()

    assert spend_all(budget, now=100.0) == 3
    assert spend_all(budget, now=109.0) == 0
    assert spend_all(budget, now=111.0) == 3


def test_successes_earn_retries_up_to_a_cap() -> None:
    budget = RetryBudget()
    spend_all(budget, now=100.0)
    for _ in range(25):
        budget.earn()

    assert spend_all(budget, now=100.0) == 2

    for _ in range(1_000):
        budget.earn()

    assert spend_all(budget, now=100.0) == 10


def test_ten_successes_are_one_retry() -> None:
    budget = RetryBudget()
    spend_all(budget, now=100.0)
    for _ in range(9):
        budget.earn()
    assert budget.left(now=100.0) == 0

    budget.earn()

    assert budget.left(now=100.0) == 1
    assert spend_all(budget, now=100.0) == 1
