"""Whether what several callers saw of the ledger could have happened one after another, each in a moment of its call.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what was tried
("Testing for linearizability", 2017): an operation may come next if it was called before any other one that is still
to come had answered. What never answered may have happened at any time after its call, or not at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the operations act on: how much each budget has in use, and may have."""

    used: tuple[int, ...]
    limits: tuple[int, ...]
    is_killed: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """Reserves on some budgets, all or nothing. `answer` is the ledger's word, None where it never came."""

    nanos: int
    budgets: tuple[int, ...]
    answer: str | None

    def applied_to(self, accounts: Accounts) -> Accounts | None:
        """The accounts afterwards; None where the answer would have been another one."""
        if accounts.is_killed:
            true_answer = "killed"
        elif any(accounts.used[n] + self.nanos > accounts.limits[n] for n in self.budgets):
            true_answer = "over_budget"
        else:
            true_answer = "admitted"
        if true_answer != (self.answer or "admitted"):
            return None
        return _with_more(accounts, self.budgets, self.nanos) if true_answer == "admitted" else accounts


@dataclass(frozen=True, slots=True)
class Settle:
    """Ends what the operation number `begun` reserved: what it held becomes what it cost."""

    begun: int
    nanos: int
    cost_nanos: int
    budgets: tuple[int, ...]

    def applied_to(self, accounts: Accounts) -> Accounts | None:
        """The accounts afterwards."""
        return _with_more(accounts, self.budgets, self.cost_nanos - self.nanos)


@dataclass(frozen=True, slots=True)
class SetLimit:
    """An administrator's edit."""

    budget: int
    limit_nanos: int

    def applied_to(self, accounts: Accounts) -> Accounts | None:
        """The accounts afterwards."""
        limits = (*accounts.limits[: self.budget], self.limit_nanos, *accounts.limits[self.budget + 1 :])
        return replace(accounts, limits=limits)


@dataclass(frozen=True, slots=True)
class SetKilled:
    """A kill switch over everything is thrown, or lifted."""

    is_killed: bool

    def applied_to(self, accounts: Accounts) -> Accounts | None:
        """The accounts afterwards."""
        return replace(accounts, is_killed=self.is_killed)


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody looks at what is in use."""

    used: tuple[int, ...]

    def applied_to(self, accounts: Accounts) -> Accounts | None:
        """The accounts, unless they differ from what was seen."""
        return accounts if accounts.used == self.used else None


Action = Begin | Settle | SetLimit | SetKilled | Read


@dataclass(slots=True)
class Operation:
    """One call. Moments are counted, not measured; `answered_at` is None where no answer came."""

    called_at: int
    action: Action | None = None
    answered_at: int | None = None


@dataclass(slots=True)
class History:
    """What was called and answered, in the order in which it was seen."""

    operations: list[Operation] = field(default_factory=list)
    moment: int = 0

    def call(self) -> int:
        """Note that something is about to be asked; answers its number."""
        self.moment += 1
        self.operations.append(Operation(called_at=self.moment))
        return len(self.operations) - 1

    def answer(self, number: int, action: Action) -> None:
        """Note what came of it."""
        self.moment += 1
        self.operations[number].action = action
        self.operations[number].answered_at = self.moment

    def give_up(self, number: int, action: Action) -> None:
        """Note that no answer will come: it may happen yet, or never."""
        self.operations[number].action = action


def order_of(history: History, accounts: Accounts) -> list[int] | None:
    """Numbers of operations in an order that explains every answer, from `accounts` on; None where there is none."""
    operations = history.operations
    required = sum(1 << number for number, one in enumerate(operations) if one.answered_at is not None)
    tried: set[tuple[int, Accounts]] = set()
    order: list[int] = []
    open_choices = [_choices(operations, 0, accounts)]
    reached = [(0, accounts)]
    while open_choices:
        done, _ = reached[-1]
        if done & required == required:
            return order
        choice = next(open_choices[-1], None)
        if choice is None:
            open_choices.pop()
            reached.pop()
            if order:
                order.pop()
            continue
        number, after = choice
        state = (done | 1 << number, after)
        if state not in tried:
            tried.add(state)
            order.append(number)
            reached.append(state)
            open_choices.append(_choices(operations, *state))
    return None


def _choices(
    operations: Sequence[Operation], done: int, accounts: Accounts
) -> Iterator[tuple[int, Accounts]]:
    """What may come next, and what it leads to."""
    left = [number for number in range(len(operations)) if not done >> number & 1]
    first_answer = min(
        (moment for number in left if (moment := operations[number].answered_at) is not None), default=None
    )
    found = []
    for number in left:
        operation = operations[number]
        action = operation.action
        if action is None or (first_answer is not None and operation.called_at > first_answer):
            continue
        if isinstance(action, Settle) and not done >> action.begun & 1:
            continue
        after = action.applied_to(accounts)
        if after is None:
            continue
        if after == accounts and operation.answered_at is not None:
            # It changes nothing and may come now, so there is no reason to try it later.
            return iter([(number, after)])
        found.append((number, after))
    return iter(found)


def _with_more(accounts: Accounts, budgets: tuple[int, ...], nanos: int) -> Accounts:
    used = tuple(amount + nanos if n in budgets else amount for n, amount in enumerate(accounts.used))
    return replace(accounts, used=used)
