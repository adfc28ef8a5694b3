"""The account, its API keys and its provider settings."""

from agentcontainer_local import doctor, schemas
from agentcontainer_local.errors import Conflict, NotFound
from agentcontainer_local.http.pagination import page
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.providers import NAMES
from agentcontainer_local.store import accounts, model_settings


def get_account(call: Call) -> schemas.Account:
    """Returns the account resolved from the bearer API key, including current platform credit balance."""
    account = accounts.shape(call.host.db, call.account, call.host.settings)
    return account.model_copy(update={"walls": doctor.figures(call.host.settings)})


def get_budget(call: Call) -> schemas.AccountBudget:
    """Returns what the account's tasks may spend on model calls in a calendar month, and what they have spent."""
    return accounts.budget_shape(call.host.db, call.account["id"], call.now)


def set_budget(call: Call) -> schemas.AccountBudget:
    """Replaces the account's monthly budget; without limits there is none. It applies from the next model call on."""
    accounts.set_budget(call.host.db, call.account["id"], call.body.max_cost_usd, call.body.max_tokens)
    return get_budget(call)


def list_keys(call: Call) -> schemas.ListApiKeysResponse:
    """Lists the account's API keys by name. The keys themselves are stored nowhere, only their last four characters."""
    found = accounts.keys(call.host.db, call.account["id"], **call.cut.asked)
    return page(schemas.ListApiKeysResponse, call.cut, found, accounts.key_shape)


def create_key(call: Call) -> schemas.CreatedApiKey:
    """Creates an API key. This answer is the only one that contains it."""
    row, key = accounts.create_key(
        call.host.db,
        call.account["id"],
        call.body.name,
        call.now,
        call.body.scope or "all",
        call.body.expires_in_seconds,
    )
    return schemas.CreatedApiKey(**accounts.key_shape(row).model_dump(by_alias=False), key=key)


def revoke_key(call: Call) -> None:
    """Revokes an API key. It is refused from now on, and its open event streams end."""
    accounts.revoke_key(call.host.db, call.account["id"], call.param("keyId"), call.now)
    call.host.revoked.set()


def list_providers(call: Call) -> schemas.ListProvidersResponse:
    """Lists the providers and their settings, for tasks whose agent and overrides name none."""
    statuses = [_provider(call, name) for name in NAMES]
    return schemas.ListProvidersResponse(data=statuses, page_info=schemas.PageInfo(has_more=False, next_cursor=None))


def set_provider(call: Call) -> schemas.ProviderStatus:
    """Stores a key (encrypted), a base URL, or the choice of this provider as the default."""
    body, name = call.body, call.param("provider")
    given = {
        "context_window": body.context_window,
        "max_output_tokens": body.max_output_tokens,
        "images": body.images,
        "free": body.free,
    }
    with call.host.db.atomic():
        accounts.set_provider(
            call.host.context,
            call.account["id"],
            name,
            api_key=body.api_key,
            base_url=body.base_url,
            default=body.is_default,
            api=body.api,
        )
        model_settings.change(call.host.db, call.account["id"], name, body.model, given)
    return _provider(call, call.param("provider"))


def remove_provider(call: Call) -> None:
    """Removes the stored settings of a provider. Those of the server's environment stay."""
    accounts.remove_provider(call.host.db, call.account["id"], call.param("provider"))


def _provider(call: Call, name: str) -> schemas.ProviderStatus:
    return accounts.provider_shape(call.host.context, call.account["id"], name)


ROUTES = [
    Route("GET", "/account", get_account, "Get account", "Account", schemas.Account),
    Route(
        "GET",
        "/account/budget",
        get_budget,
        "Get budget",
        "Account",
        schemas.AccountBudget,
        extension=True,
    ),
    Route(
        "PUT",
        "/account/budget",
        set_budget,
        "Set budget",
        "Account",
        schemas.AccountBudget,
        takes=schemas.BudgetRequest,
        example={"maxCostUsd": 20},
        extension=True,
    ),
    Route(
        "GET",
        "/keys",
        list_keys,
        "List API keys",
        "Account",
        schemas.ListApiKeysResponse,
        query=schemas.PageQuery,
        extension=True,
    ),
    Route(
        "POST",
        "/keys",
        create_key,
        "Create API key",
        "Account",
        schemas.CreatedApiKey,
        201,
        schemas.CreateKeyRequest,
        replayable=True,
        secret=True,
        errors=(Conflict,),
        example={"name": "laptop"},
        extension=True,
    ),
    Route(
        "DELETE",
        "/keys/{keyId}",
        revoke_key,
        "Revoke API key",
        "Account",
        status=204,
        errors=(NotFound,),
        extension=True,
    ),
    Route(
        "GET",
        "/providers",
        list_providers,
        "List providers",
        "Account",
        schemas.ListProvidersResponse,
        extension=True,
    ),
    Route(
        "PUT",
        "/providers/{provider}",
        set_provider,
        "Set provider",
        "Account",
        schemas.ProviderStatus,
        takes=schemas.UpdateProviderRequest,
        errors=(NotFound,),
        example={"apiKey": "sk-ant-...", "isDefault": True},
        extension=True,
    ),
    Route(
        "DELETE",
        "/providers/{provider}",
        remove_provider,
        "Remove provider",
        "Account",
        status=204,
        errors=(NotFound,),
        extension=True,
    ),
]
