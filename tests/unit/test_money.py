"""Money in and out: nothing is lost between US dollars and micro-dollars, and no charge exceeds its reservation."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local import money


@given(st.integers(0, money.MAX_USD * money.MICROUSD_PER_USD))
def test_every_amount_survives_the_way_to_us_dollars_and_back(microusd):
    assert money.from_usd(money.to_usd(microusd)) == microusd


def test_an_amount_that_is_not_known_stays_unknown():
    assert money.from_usd(None) is None
    assert money.to_usd(None) is None
    assert money.shown(None) == "?"


@given(st.decimals(0, 10**9, allow_nan=False, places=4))
def test_a_reservation_is_never_below_the_payment(microusd):
    assert money.rounded(microusd) <= money.rounded_up(microusd) < microusd + 1


@given(st.integers(0, 10**12))
def test_an_amount_in_cents_is_enough_and_less_than_a_cent_too_much(microusd):
    assert 0 <= Decimal(money.in_cents(microusd)) * money.MICROUSD_PER_USD - microusd < 10_000


def test_amounts_below_a_dollar_are_shown_with_four_digits():
    assert [money.shown(usd) for usd in (0, 0.0031, 0.5, 12.5)] == ["$0.00", "$0.0031", "$0.5000", "$12.50"]
