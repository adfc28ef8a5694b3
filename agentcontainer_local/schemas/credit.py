"""Prepaid credit."""

from typing import Annotated

from pydantic import Field

from agentcontainer_local.money import MAX_USD
from agentcontainer_local.schemas.base import Request, Shape
from agentcontainer_local.schemas.enums import BillingMode, CreditEntryKind
from agentcontainer_local.schemas.fields import Timestamp
from agentcontainer_local.schemas.pages import Page


class Credit(Shape):
    balance_usd: float
    billing_mode: BillingMode = Field(description="Only `standard` charges the credit.")


class AddCreditRequest(Request):
    amount_usd: Annotated[float, Field(ge=0.01, le=MAX_USD, allow_inf_nan=False)]


class CreditEntry(Shape):
    kind: CreditEntryKind
    amount_usd: float
    task_id: str | None
    created_at: Timestamp


class ListCreditEntriesResponse(Page[CreditEntry]):
    pass
