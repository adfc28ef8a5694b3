"""Budgets: what model calls may cost."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from agentcontainer_local.money import MAX_USD, to_usd
from agentcontainer_local.schemas.base import Request, Shape, optional
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import whole

Usd = Annotated[float, Field(ge=to_usd(1), le=MAX_USD, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=2**53), BeforeValidator(whole)]


class Budgeted(Request):
    """What its model calls may use. A call that would not fit is not made; a part is kept for the agent to finish."""

    max_cost_usd: Extension[Usd | None] = Field(
        None, description="Maximum cost of all model calls, in US dollars, by the price table. It is never exceeded."
    )
    max_tokens: Extension[Tokens | None] = Field(
        None,
        description="Maximum tokens of all model calls, input and output, without cache reads. It is never exceeded.",
    )


class BudgetRequest(Budgeted):
    """Takes the place of the one before; a limit that is not given is none."""


class Budget(Shape):
    """Limits, and what counts against them: calls at work, or whose end was never told, count at their worst."""

    max_cost_usd: float | None
    max_tokens: int | None
    used_cost_usd: float
    used_tokens: int
    worst_case_cost_usd: float | None = optional(
        description="Part of `usedCostUsd` that is an upper bound, for calls that are running or were cut off."
    )
    worst_case_tokens: int | None = optional(
        description="Part of `usedTokens` that is an upper bound. `tokenUsage` has an estimate instead, so the"
        " two may differ by this."
    )


class AccountBudget(Budget):
    month: str = Field(description="Calendar month (UTC) whose model calls are counted.", examples=["2026-03"])
