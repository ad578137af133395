import pytest

from dispatch_app.costs.reasons import tell_outcome


@pytest.mark.parametrize(
    ("attempts", "told"),
    [
        ([], ""),
        ([("small", "")], ""),  # the decision says it all
        ([("small", "server_error")], "small ended in server error."),
        ([("small", "server_error"), ("mid", "")], "small ended in server error, then mid answered."),
        (
            [("small", "rate_limited"), ("mid", "truncated"), ("mid", "idle_timeout")],
            "small ended in rate limited, then mid ended in truncated, then mid ended in idle timeout.",
        ),
    ],
)
def test_the_outcome_names_every_attempt_and_its_fault(attempts: list[tuple[str, str]], told: str) -> None:
    assert tell_outcome(attempts) == told
