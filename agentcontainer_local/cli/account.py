"""`agentcontainer account`, `budget`, `credit`, `keys` and `providers`: whose server it is."""

import sys
from typing import Annotated

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.session import AT_REST, Session, command

budget = typer.Typer(no_args_is_help=True, help="What model calls may cost in a month.")
credit = typer.Typer(no_args_is_help=True, help="Prepaid credit for container time.")
keys = typer.Typer(no_args_is_help=True, help="API keys.")
providers = typer.Typer(no_args_is_help=True, help="Keys and addresses of model providers.")
Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="anthropic, openai or openrouter.")]


def add_to(app: typer.Typer) -> None:
    command(app, "account")(account)
    app.add_typer(budget, name="budget")
    app.add_typer(credit, name="credit")
    app.add_typer(keys, name="keys")
    app.add_typer(providers, name="providers")


def account(session: Session) -> None:
    """Whose server it is, what is stored, what is left."""
    from agentcontainer_local.cli.output import size, usd

    found = session.client.get_account()
    charged = found.billing_mode == "standard"
    session.out.facts({
        "id": found.id, "name": found.name, "server": session.url,
        "billing": "container time is charged" if charged else "nothing is charged",
        "credit": usd(found.credit_balance), "files": size(found.file_storage.used_bytes),
        "kept workspaces": size(found.checkpoint_storage.used_bytes), "made": found.created_at,
    }, found)


@command(budget, "show", starts=AT_REST)
def show_budget(session: Session) -> None:
    """What this month's model calls may cost, and what they did."""
    _budget(session, session.client.get_budget())


@command(budget, "set", starts=AT_REST)
def set_budget(
    session: Session,
    max_cost_usd: Annotated[float | None, typer.Option("--max-cost", metavar="USD", help="In US dollars.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="COUNT", help="Of input and output together.")] = None,
) -> None:
    """Set it in the place of the one before. What is not given has no limit. It holds from the next model call on."""
    if max_cost_usd is None and max_tokens is None:
        raise Stop(Exit.WRONG_USE, "Give --max-cost, --max-tokens or both; `budget clear` takes the limits away.")
    _budget(session, session.client.set_budget(max_cost_usd=max_cost_usd, max_tokens=max_tokens))


@command(budget, "clear", starts=AT_REST)
def clear_budget(session: Session) -> None:
    """Take the limits away."""
    _budget(session, session.client.set_budget())


def _budget(session: Session, found) -> None:
    from agentcontainer_local.cli.output import number, usd

    cost = ", no limit" if found.max_cost_usd is None else f" of {usd(found.max_cost_usd)}"
    tokens = ", no limit" if found.max_tokens is None else f" of {number(found.max_tokens)}"
    session.out.facts({
        "month": found.month, "cost": usd(found.used_cost_usd) + cost, "tokens": number(found.used_tokens) + tokens,
    }, found)


@command(credit, "show", starts=AT_REST)
def show_credit(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, metavar="COUNT", help="The latest so many.")] = 20,
) -> None:
    """The balance, and the latest of what it is the sum of."""
    from agentcontainer_local.cli.output import age, usd

    found = session.client.get_credit()
    entries = list(session.client.list_credit_entries(limit=limit))
    if session.out.as_json:
        session.out.json({"balanceUsd": found.balance_usd, "billingMode": found.billing_mode, "entries": entries})
        return
    charged = found.billing_mode == "standard"
    session.out.say(usd(found.balance_usd) + ("" if charged else ", and nothing is charged"))
    if entries:
        rows = [(entry.kind, usd(entry.amount_usd), age(entry.created_at), entry.task_id or "") for entry in entries]
        session.out.table(("what", "amount", "age", "task"), rows, entries)


@command(credit, "add", starts=AT_REST)
def add_credit(
    session: Session, usd: Annotated[float, typer.Argument(min=0.01, metavar="USD", help="How much.")]
) -> None:
    """Grant credit. It counts where the server runs with --billing prepaid."""
    from agentcontainer_local.cli import output

    found = session.client.add_credit(usd)
    session.out.done(f"The balance is {output.usd(found.balance_usd)}.", found)


@command(keys, "create", starts=AT_REST)
def create_key(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")] = "default"
) -> None:
    """Make an API key; it is printed this once, alone on stdout."""
    made = session.client.create_key(name)
    session.out.done(made.key, made)


@command(keys, "list", starts=AT_REST)
def list_keys(session: Session) -> None:
    """Show the API keys, by name and last characters."""
    from agentcontainer_local.cli.output import age

    found = list(session.client.list_keys())
    rows = [(key.id, f"...{key.hint}", age(key.created_at), "revoked" if key.revoked_at else "", key.name)
            for key in found]
    session.out.table(("id", "ends in", "age", "state", "name~"), rows, found, "No keys.")


@command(keys, "revoke", starts=AT_REST)
def revoke_key(session: Session, key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")]) -> None:
    """Make an API key useless, at once."""
    session.client.revoke_key(key)
    session.out.done(f"{key}  revoked", {"id": key, "revoked": True})


@command(providers, "list", starts=AT_REST)
def list_providers(session: Session) -> None:
    """What tasks use whose agent says nothing. Keys are never shown."""
    found = list(session.client.list_providers())
    rows = [(one.provider, f"from the {one.source}" if one.has_api_key else "none", "yes" if one.is_default else "",
             one.base_url) for one in found]
    session.out.table(("provider", "key", "default", "address"), rows, found)


@command(providers, "set", starts=AT_REST)
def set_provider(
    session: Session, provider: Provider,
    base_url: Annotated[str | None, typer.Option(
        metavar="URL", help="Where it is, as the vendor's SDK takes it.")] = None,
    default: Annotated[bool, typer.Option("--default", help="What tasks use that name no provider.")] = False,
) -> None:
    """Store a provider's API key. It is read from stdin, so that it is in no history; empty leaves it as it is."""
    key = (typer.prompt("API key", default="", show_default=False, hide_input=True) if sys.stdin.isatty()
           else sys.stdin.readline()).strip()
    given = {"api_key": key or None, "base_url": base_url, "is_default": default or None}
    if not any(given.values()):
        raise Stop(Exit.WRONG_USE, f"There is no key on stdin: agentcontainer providers set {provider} < FILE")
    found = session.client.set_provider(provider, **{name: value for name, value in given.items() if value is not None})
    session.out.done(f"{found.provider}  {'has a key' if found.has_api_key else 'has no key'}, {found.base_url}", found)


@command(providers, "remove", starts=AT_REST)
def remove_provider(session: Session, provider: Provider) -> None:
    """Forget what was set; what the server's environment gives stays."""
    session.client.remove_provider(provider)
    session.out.done(f"{provider}  removed", {"provider": provider, "removed": True})
