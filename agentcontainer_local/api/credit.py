"""The account's credit: the balance, its ledger, and grants; who has a key of this server is its operator."""

from agentcontainer_local import schemas
from agentcontainer_local.http.pagination import page
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.money import from_usd, to_usd
from agentcontainer_local.store import accounts, ledger
from agentcontainer_local.store.db import Row


def get_credit(call: Call) -> schemas.Credit:
    """Returns the account's balance, and whether container time is charged to it."""
    balance = accounts.balance_microusd(call.host.db, call.account["id"])
    return schemas.Credit(balance_usd=to_usd(balance), billing_mode=call.account["billing_mode"])


def add_credit(call: Call) -> schemas.Credit:
    """Adds credit to the account, and returns the new balance."""
    ledger.grant(call.host.db, call.account["id"], from_usd(call.body.amount_usd), call.now)
    return get_credit(call)


def list_credit_entries(call: Call) -> schemas.ListCreditEntriesResponse:
    """Lists the entries of which the balance is the sum: credit that was added, and for each task a reservation, its
    release, and the charge."""
    found = ledger.entries(call.host.db, call.account["id"], **call.cut.asked)
    return page(schemas.ListCreditEntriesResponse, call.cut, found, _entry)


def _entry(entry: Row) -> schemas.CreditEntry:
    return schemas.CreditEntry(
        kind=entry["kind"],
        amount_usd=to_usd(entry["amount_microusd"]),
        task_id=entry["task_id"],
        created_at=entry["created_at"],
    )


ROUTES = [
    Route(
        "GET",
        "/credit",
        get_credit,
        "Get credit",
        "Account",
        schemas.Credit,
        extension=True,
    ),
    Route(
        "POST",
        "/credit",
        add_credit,
        "Add credit",
        "Account",
        schemas.Credit,
        201,
        schemas.AddCreditRequest,
        replayable=True,
        example={"amountUsd": 10},
        extension=True,
    ),
    Route(
        "GET",
        "/credit/entries",
        list_credit_entries,
        "List credit entries",
        "Account",
        schemas.ListCreditEntriesResponse,
        query=schemas.PageQuery,
        extension=True,
    ),
]
