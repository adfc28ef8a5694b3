"""How long: as a test says it."""

import re
from datetime import timedelta

UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
NUMBER = r"\d+(?:\.\d+)?"
PART = re.compile(rf"({NUMBER})(ms|[wdhms])")
SHORT = re.compile(rf"(?:{NUMBER}(?:ms|[wdhms]))+")
ISO_8601 = re.compile(
    rf"P(?=.)(?:{NUMBER}W)?(?:{NUMBER}D)?(?:T(?=.)(?:{NUMBER}H)?(?:{NUMBER}M)?(?:{NUMBER}S)?)?", re.IGNORECASE
)
MAX_SECONDS = 100 * 366 * 86_400  # a date has four digits for the year

Duration = float | str | timedelta


def seconds(duration: Duration) -> float:
    """Of 90, "90s", "1h30m", "7d", "P7D" or a timedelta. Raises ValueError, or TypeError."""
    found = _seconds(duration)
    if not 0 <= found <= MAX_SECONDS:
        raise ValueError(f"{duration!r} is not from 0 seconds to 100 years. Time only goes forward.")
    return found


def _seconds(duration: Duration) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, str | float | int):
        raise TypeError(f"{duration!r} is not a duration. Give seconds, a text such as '7d', or a timedelta.")
    if not isinstance(duration, str):
        return duration
    text = duration.strip()
    if ISO_8601.fullmatch(text):
        text = text.lower().replace("p", "").replace("t", "")
    if not SHORT.fullmatch(text):
        raise ValueError(
            f"{duration!r} is not a duration. Give seconds, or for example '90s', '1h30m', '7d' or 'P7DT12H'."
        )
    return sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
