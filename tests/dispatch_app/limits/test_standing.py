"""What is worked out of how far a limit is used."""

from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.limits.standing import Standing
from tests.dispatch_app.limits.values import at_once, requests, tokens

most = st.integers(min_value=1, max_value=1_000_000)
share = st.floats(min_value=0, max_value=2)


@given(most=most, share=share, amount=st.integers(min_value=1, max_value=1_000_000))
def test_what_was_not_to_be_had_is_after_the_wait_and_not_much_before(most, share, amount):
    standing = Standing(limit=tokens(most), used=share * most)
    amount = min(amount, most)
    wait_s = standing.wait_s(amount)

    assert standing.after(wait_s).remaining >= amount
    if standing.remaining < amount:
        unit_s = 60 / most
        assert standing.after(max(0.0, wait_s - 1.01 * unit_s)).remaining < amount


@given(most=most, share=share)
def test_a_bucket_is_full_after_its_reset_and_never_more_than_full(most, share):
    standing = Standing(limit=requests(most), used=share * most)

    assert standing.after(standing.reset_s).remaining == most
    assert standing.after(standing.reset_s + 1e6).remaining == most


@given(most=most, share=share, seconds=st.floats(min_value=0, max_value=120))
def test_time_only_gives(most, share, seconds):
    standing = Standing(limit=requests(most), used=share * most)
    later = standing.after(seconds)

    assert 0 <= standing.remaining <= later.remaining <= most
    assert later.reset_s <= standing.reset_s


def test_time_gives_no_slot_back():
    standing = Standing(limit=at_once(3), used=3)

    assert standing.after(1e6) == standing
    assert standing.remaining == 0
