"""`agentcontainer account`, `budget`, `credit`, `keys` and `providers`: settings of the account."""

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli import names
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import AT_REST, READING, Session, command
from agentcontainer_local.money import shown
from agentcontainer_local.providers import IN_WORDS

if TYPE_CHECKING:
    from agentcontainer_local import schemas

budget = App("Limit what model calls may cost in a month.")
credit = App("Show and add prepaid credit for container time.")
keys = App("Make, list and revoke API keys.")
providers = App("Set keys and addresses of model providers.")
Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help=f"{IN_WORDS}.")]


def add_to(app: App) -> None:
    command(app, "account", example="account")(account)
    app.add_typer(budget, name="budget")
    app.add_typer(credit, name="credit")
    app.add_typer(keys, name="keys")
    app.add_typer(providers, name="providers")


def account(session: Session) -> None:
    """Show the account: stored files, billing, credit."""
    from agentcontainer_local.cli.output import size

    found = session.client.get_account()
    charged = found.billing_mode == "standard"
    session.out.facts(
        {
            "id": found.id,
            "name": found.name,
            "server": session.url,
            "billing": "container time is charged" if charged else "nothing is charged",
            "credit": shown(found.credit_balance),
            "files": size(found.file_storage.used_bytes),
            "kept workspaces": size(found.checkpoint_storage.used_bytes),
            "made": found.created_at,
        },
        found,
    )


@command(budget, "show", starts=READING, example="budget show")
def show_budget(session: Session) -> None:
    """Show this month's limits and what was used."""
    _budget(session, session.client.get_budget())


@command(budget, "set", starts=AT_REST, example="budget set --max-cost 20")
def set_budget(
    session: Session,
    max_cost_usd: Annotated[
        float | None, typer.Option("--max-cost", metavar="USD", help="Maximum cost of a month, in US dollars.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="COUNT", help="Maximum tokens of a month, input and output together.")
    ] = None,
) -> None:
    """Set the limits of a month, from the next model call on. A limit that is not given is removed."""
    if max_cost_usd is None and max_tokens is None:
        raise Stop(
            Exit.WRONG_USE, "Give --max-cost, --max-tokens or both. `agentcontainer budget clear` removes the limits."
        )
    _budget(session, session.client.set_budget(max_cost_usd=max_cost_usd, max_tokens=max_tokens))


@command(budget, "clear", starts=AT_REST, example="budget clear")
def clear_budget(session: Session) -> None:
    """Remove the limits."""
    _budget(session, session.client.set_budget())


def _budget(session: Session, found: "schemas.AccountBudget") -> None:
    from agentcontainer_local.cli.output import number

    cost = ", no limit" if found.max_cost_usd is None else f" of {shown(found.max_cost_usd)}"
    tokens = ", no limit" if found.max_tokens is None else f" of {number(found.max_tokens)}"
    session.out.facts(
        {
            "month": found.month,
            "cost": shown(found.used_cost_usd) + cost,
            "tokens": number(found.used_tokens) + tokens,
        },
        found,
    )


@command(credit, "show", starts=READING, example="credit show")
def show_credit(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, metavar="COUNT", help="Number of entries.")] = 20,
) -> None:
    """Show the balance and its latest entries."""
    from agentcontainer_local.cli.output import age

    found = session.client.get_credit()
    entries = list(session.client.list_credit_entries(limit=limit))
    if session.out.as_json:
        session.out.json({"balanceUsd": found.balance_usd, "billingMode": found.billing_mode, "entries": entries})
        return
    charged = found.billing_mode == "standard"
    session.out.say(shown(found.balance_usd) + ("" if charged else ", and nothing is charged"))
    if entries:
        rows = [(entry.kind, shown(entry.amount_usd), age(entry.created_at), entry.task_id or "") for entry in entries]
        session.out.table(("what", "amount", "age", "task"), rows, entries)


@command(credit, "add", starts=AT_REST, example="credit add 10")
def add_credit(
    session: Session, usd: Annotated[float, typer.Argument(min=0.01, metavar="USD", help="Amount in US dollars.")]
) -> None:
    """Add credit. It matters only if the server runs with --billing prepaid."""

    found = session.client.add_credit(usd)
    session.out.done(f"The balance is {shown(found.balance_usd)}.", found)
    if found.billing_mode != "standard" and not session.out.as_json:
        session.out.note("Nothing is charged: the server does not run with --billing prepaid.", "yellow")


@command(keys, "create", starts=AT_REST, example=("keys create laptop", "keys create prometheus --metrics"))
def create_key(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")] = "default",
    metrics: Annotated[bool, typer.Option("--metrics", help="The key can only read /metrics.")] = False,
    days: Annotated[
        int | None, typer.Option(min=1, max=3660, metavar="DAYS", help="Days until the key expires. By default never.")
    ] = None,
) -> None:
    """Make an API key and print it. It is not shown again."""
    seconds = days and days * 86400
    made = session.client.create_key(name, scope="metrics" if metrics else None, expires_in_seconds=seconds)
    session.out.done(made.key, made)


@command(keys, "list", starts=READING, example="keys list")
def list_keys(session: Session) -> None:
    """List the API keys by name and last characters."""
    from agentcontainer_local.cli.output import age

    found = list(session.client.list_keys())
    rows = [
        (
            key.id,
            f"...{key.hint}",
            age(key.created_at),
            "revoked" if key.revoked_at else f"until {key.expires_at}" if key.expires_at else "active",
            key.scope,
            key.name,
        )
        for key in found
    ]
    session.out.table(("id", "key", "age", "status", "scope", "name~"), rows, found, "No keys.")


@command(keys, "revoke", starts=AT_REST, example="keys revoke laptop")
def revoke_key(
    session: Session, key: Annotated[str, typer.Argument(metavar="KEY", help="Id or name of the key.")]
) -> None:
    """Revoke an API key. It stops working at once."""
    id = names.key(session, key)
    session.client.revoke_key(id)
    session.out.done(f"{id}  revoked", {"id": id, "revoked": True})


@command(providers, "list", starts=READING, example="providers list")
def list_providers(session: Session) -> None:
    """List the providers: whether a key is set, and the address. Keys are never shown."""
    found = list(session.client.list_providers())
    rows = [
        (
            one.provider,
            f"from the {one.source}" if one.has_api_key else "none",
            "yes" if one.is_default else "",
            one.base_url,
        )
        for one in found
    ]
    session.out.table(("provider", "key", "default", "address"), rows, found)


@command(
    providers,
    "set",
    starts=AT_REST,
    example=(
        "providers set anthropic --default < key.txt",
        "providers set openai --base-url http://127.0.0.1:8080/v1 < key.txt",
    ),
)
def set_provider(
    session: Session,
    provider: Provider,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Base URL, as for the provider's SDK.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Use it for tasks that name no provider.")] = False,
    api: Annotated[
        str | None,
        typer.Option(metavar="responses|chat-completions|messages", help="API of the server at that address."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Model that these options apply to. By default all models of the provider."),
    ] = None,
    context_window: Annotated[int | None, typer.Option(metavar="TOKENS", help="Context window.")] = None,
    max_output: Annotated[int | None, typer.Option(metavar="TOKENS", help="Longest answer.")] = None,
    images: Annotated[bool | None, typer.Option("--images/--no-images", help="Whether it accepts images.")] = None,
    free: Annotated[bool | None, typer.Option("--free/--not-free", help="Whether its calls are free.")] = None,
) -> None:
    """Store a provider's API key, address and model settings.

    The key is read from stdin. An empty stdin leaves it as it is."""
    key = _typed_key()
    given: dict[str, Any] = {
        "api_key": key or None,
        "base_url": base_url,
        "is_default": default or None,
        "api": api,
        "model": model,
        "context_window": context_window,
        "max_output_tokens": max_output,
        "images": images,
        "free": free,
    }
    if all(value is None for name, value in given.items() if name != "model"):
        raise Stop(Exit.WRONG_USE, f"There is no key on stdin. Example: agentcontainer providers set {provider} < FILE")
    found = session.client.set_provider(provider, **{name: value for name, value in given.items() if value is not None})
    session.out.done(f"{found.provider}  {'has a key' if found.has_api_key else 'has no key'}, {found.base_url}", found)


def _typed_key() -> str:
    """Without what surrounds it in a file. Refused here where it cannot be a key, and never shown."""
    key = (
        typer.prompt("API key", default="", show_default=False, hide_input=True)
        if sys.stdin.isatty()
        else sys.stdin.read()
    ).strip()
    if key and not re.fullmatch("[!-~]+", key):
        raise Stop(
            Exit.WRONG_USE,
            "Invalid provider key: it contains a space, a line break or a non-ASCII character. Nothing was stored.",
        )
    return key


@command(providers, "remove", starts=AT_REST, example="providers remove openai")
def remove_provider(session: Session, provider: Provider) -> None:
    """Remove the stored key and address. Keys in the server's environment stay."""
    session.client.remove_provider(provider)
    session.out.done(f"{provider}  removed", {"provider": provider, "removed": True})
