"""Money: whole micro-dollars inside (`…_microusd`, an int), US dollars at the edges (`…_usd`, a float).

A reservation rounds up, a payment to the nearest: so no call is paid with more than was reserved for it.
"""

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import overload

MICROUSD_PER_USD = 1_000_000
MAX_USD = 1_000_000  # of one amount: a budget, a credit, a call's cost


@overload
def from_usd(usd: float) -> int: ...
@overload
def from_usd(usd: None) -> None: ...
@overload
def from_usd(usd: float | None) -> int | None: ...
def from_usd(usd: float | None) -> int | None:
    """None stays None: an amount that is not known, or a limit that is not set."""
    return None if usd is None else round(usd * MICROUSD_PER_USD)


@overload
def to_usd(microusd: float) -> float: ...
@overload
def to_usd(microusd: None) -> None: ...
@overload
def to_usd(microusd: float | None) -> float | None: ...
def to_usd(microusd: float | None) -> float | None:
    return None if microusd is None else microusd / MICROUSD_PER_USD


def rounded(microusd: Decimal) -> int:
    """What was paid."""
    return int(microusd.to_integral_value(ROUND_HALF_UP))


def rounded_up(microusd: Decimal) -> int:
    """What is reserved."""
    return int(microusd.to_integral_value(ROUND_CEILING))


def in_cents(microusd: int) -> str:
    """Rounded up, so that a budget of this amount is enough: `0.02`."""
    return f"{-(-microusd // 10_000) / 100:.2f}"


def shown(usd: float | None) -> str:
    """`$12.50`, `$0.0031`, or `?` where it is not known."""
    if usd is None:
        return "?"
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"
