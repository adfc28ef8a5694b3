"""Prices of tokens: a dated table, which `--prices-file` replaces. Used if the provider does not report the cost."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from agentcontainer_local.money import MICROUSD_PER_USD, rounded
from agentcontainer_local.providers import PROVIDERS

DATED = re.compile(r"-20\d\d-?\d\d-?\d\d$")  # claude-sonnet-4-5-20250929, gpt-4o-2024-11-20
TIERS = {"flex": Decimal("0.5"), "priority": Decimal("2.5"), "fast": Decimal("2.5")}  # service tiers, the dearest rate
NOTHING = {"input": 0, "output": 0}


class Figures(Protocol):
    """What one answer used, as the gateway counts it."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int  # of those
    reported_usd: Decimal | None
    service_tier: str | None


@dataclass(frozen=True)
class Prices:
    """`models`: provider → model id → USD per million tokens (so: millionths of a USD per token), and `maxOutput`."""

    as_of: str
    models: dict[str, dict[str, dict[str, Any]]]
    free: frozenset[str] = frozenset()  # models that cost nothing, whatever the table says

    @classmethod
    @cache
    def read(cls, file: Path | None = None) -> "Prices":
        """The package's own table, or `file` in the same form; read once."""
        table = json.loads((file or resources.files(__package__) / "prices.json").read_text())
        return cls(table["asOf"], table["models"])

    def with_free(self, models: Iterable[str]) -> "Prices":
        return replace(self, free=frozenset(models))

    def find(self, provider: str, model: Any) -> dict[str, Any] | None:
        """Of a model, under its own name, without its date, or with dashes as Anthropic spells it."""
        if model in self.free:
            return NOTHING
        known = self.models.get(provider, {})
        if not isinstance(model, str):
            return None
        vendor = PROVIDERS.get(provider)
        dashed = model.replace(".", "-") if vendor and vendor.dashed else model
        return known.get(model) or known.get(DATED.sub("", model)) or known.get(dashed)

    def cost_microusd(self, provider: str, model: str, figures: Figures) -> int | None:
        """What the provider reported, else by the table, else None; above a threshold the whole call costs more.

        A cache price of 0 means that there is none of its own: such tokens are paid as input.
        """
        if figures.reported_usd is not None and model not in self.free:
            return rounded(figures.reported_usd * MICROUSD_PER_USD)
        if (rates := self.find(provider, model)) is None:
            return None
        prompt = figures.input_tokens + figures.cache_read_tokens + figures.cache_write_tokens
        for tier in sorted(rates.get("tiers", []), key=lambda tier: tier["inputTokensAbove"]):
            rates = tier if prompt > tier["inputTokensAbove"] else rates
        hour = min(figures.cache_write_1h_tokens, figures.cache_write_tokens)
        cost = (
            figures.input_tokens * _rate(rates, "input")
            + figures.output_tokens * _rate(rates, "output")
            + figures.cache_read_tokens * (_rate(rates, "cacheRead") or _rate(rates, "input"))
            + (figures.cache_write_tokens - hour) * (_rate(rates, "cacheWrite") or _rate(rates, "input"))
            + hour * 2 * _rate(rates, "input")  # an hour's cache is written at twice the price of input
        )
        return rounded(cost * TIERS.get(figures.service_tier or "", 1))

    def no_dearer(self, provider: str, model: Any, than: str) -> bool:
        """Whether both prices are known and `model` costs no more."""
        this, that = self.find(provider, model), self.find(provider, than)
        if this is None or that is None:
            return False
        return all(this[kind] <= that[kind] for kind in ("input", "output"))


def dearest(rates: dict[str, Any], input_tokens: int, cached_for_an_hour: bool) -> tuple[Decimal, Decimal]:
    """The most that a token in, and a token out, can cost (micro-USD) in a call of at most so many input tokens."""
    reachable = [rates, *(tier for tier in rates.get("tiers", []) if input_tokens > tier["inputTokensAbove"])]
    written = max(
        max(_rate(one, "input") * (2 if cached_for_an_hour else 1), _rate(one, "cacheWrite")) for one in reachable
    )
    read = max(_rate(one, "cacheRead") for one in reachable)
    return max(written, read), max(_rate(one, "output") for one in reachable)


def _rate(rates: dict[str, Any], kind: str) -> Decimal:
    return Decimal(str(rates.get(kind, 0)))
