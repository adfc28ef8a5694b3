"""`agentcontainer doctor`: what this machine has, what it lacks, and what its walls hold.

It looks for itself, and asks no server: most of what it finds is why none starts.
"""

import asyncio
import os
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.serve import settings_of
from agentcontainer_local.cli.session import JsonFlag, ending
from agentcontainer_local.settings import Settings

if TYPE_CHECKING:
    from agentcontainer_local import schemas
    from agentcontainer_local.cli.output import Output

SIGNS = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "missing": ("MISSING", "red"),
    "enforced": ("enforced", "green"),
    "not_enforced": ("NOT ENFORCED HERE", "red"),
    "unavailable": ("not possible here", "yellow"),
}


def add_to(app: App) -> None:
    app.command("doctor", example=("doctor", "doctor --prove"))(command)


def command(
    prove: Annotated[
        bool, typer.Option("--prove", help="Start containers and try each security promise from inside.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check this machine. Lists which parts are installed or missing. For each missing part it shows the command that
    installs it.
    The exit code is 1 if tasks cannot run or a security promise did not hold."""
    with ending(json) as out:
        found = _report()
        if prove and found.ready:
            with out.steps("Testing the security promises") as step:
                found.proof = _prove(settings_of(), step)
        if json:
            out.json(found)
        else:
            _show(out, found)
        broken = prove and found.proof and any(one.status == "not_enforced" for one in found.proof.promises)
        if broken or not found.ready:
            raise Stop(Exit.FAILED)


def _report() -> "schemas.Doctor":
    """Root looks as the account that `serve` would hand over to, and changes nothing on its way there."""
    from agentcontainer_local import doctor
    from agentcontainer_local.process import service_account

    root = os.getuid() == 0
    if root:
        account = service_account.there()
        if account is None:
            making = shlex.join(service_account.making())
            return doctor.of(settings_of(), doctor.no_account(service_account.name(), making))
        service_account.look_as(account)
    return doctor.report(settings_of(), root)


def _prove(settings: Settings, say: Callable[[str], None]) -> "schemas.Proof":
    """Beside a server that may be running."""
    from agentcontainer_local import doctor
    from agentcontainer_local.sandbox import backends

    return doctor.write_proof(settings, asyncio.run(backends.prove(settings, say)), datetime.now(UTC))


def _show(out: "Output", found: "schemas.Doctor") -> None:
    from rich.text import Text

    rows = [(Text(*SIGNS[check.status]), check.name, check.detail) for check in found.checks]
    out.table(("state", "what", "detail~"), rows, found.checks)
    for check in found.checks:  # what is not as it should be is said whole: a terminal cuts the table
        if check.status != "ok":
            out.say(f"\n{check.name}: {check.detail}" + (f"\n  {check.fix}" if check.fix else ""))
    if found.proof is None:
        out.say(
            "\nThe security promises have not been tested on this machine. Test them with: agentcontainer"
            " doctor --prove"
        )
        return
    out.say(f"\nSecurity promises, tested at {found.proof.at}:")
    rows = [(Text(*SIGNS[promise.status]), promise.name, promise.detail) for promise in found.proof.promises]
    out.table(("state", "promise", "seen~"), rows, found.proof.promises)
    for promise in found.proof.promises:
        if promise.status != "enforced":
            out.say(f"\n{promise.name}: {promise.detail}")
