"""`agentcontainer leftovers`: containers, volumes and run directories whose data directory was deleted.

They are the backend's and not a server's, so no server is asked.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.serve import settings_of
from agentcontainer_local.cli.session import JsonFlag, ending

if TYPE_CHECKING:
    from agentcontainer_local.cli.output import Output
    from agentcontainer_local.sandbox.backend import Leftovers
    from agentcontainer_local.sandbox.leftovers import OfStore

STATES = """\
\b
State:
  deleted      The data directory is gone, and its disk is mounted.
  unreachable  The data directory can't be looked at, for example because its disk is not mounted.
  unknown      This account has no note of where the data directory was.
  in use       The data directory is gone, but its server is still running."""

app = App("List and remove what deleted data directories left behind.", STATES)


def _with_leftovers(work: Callable[["Leftovers"], Awaitable[Any]]) -> Any:
    """Runs `work` as the account that `serve` would work as."""
    from agentcontainer_local.process import service_account
    from agentcontainer_local.sandbox import backends

    async def opened() -> Any:
        async with backends.leftovers(settings_of()) as leftovers:
            return await work(leftovers)

    if os.getuid() == 0:
        service_account.become(None)
    return asyncio.run(opened())


@app.command("list", example="leftovers list")
def list_leftovers(json: JsonFlag = False) -> None:
    """List what is left of each store that is not at its place any more, and of interrupted image builds. A store is
    what a data directory holds."""
    from agentcontainer_local.sandbox import leftovers

    async def measured(backend: "Leftovers") -> tuple[list[tuple["OfStore", int]], list[str]]:
        found = await leftovers.found(backend)
        large = [one.store_id for one in found if not one.has_run_directory_only]
        sizes = dict(zip(large, await backend.sizes(large), strict=True))
        return [(one, sizes.get(one.store_id, 0)) for one in found], await backend.interrupted_builds()

    with ending(json) as out:
        _show(out, *_with_leftovers(measured))


@app.command("remove", example=("leftovers remove", "leftovers remove --yes", "leftovers remove str_88pmhpdtbb"))
def remove(
    stores: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STORE...", help="Stores to remove the leftovers of. By default all whose state is `deleted`."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    json: JsonFlag = False,
) -> None:
    """Remove the leftovers of deleted stores, and of interrupted image builds.

    If you have moved a data directory, start a server on it first: until then the store counts as deleted, and its
    tasks would lose their workspaces. Containers and volumes of an unreachable or unknown store are removed only if you
    name the store. Those of a store that is there, or in use, are never removed."""
    from agentcontainer_local.cli.output import counted
    from agentcontainer_local.sandbox import leftovers

    with ending(json) as out:

        async def removed(backend: "Leftovers") -> tuple[list["OfStore"], list[str]]:
            chosen = _chosen(await leftovers.found(backend), stores)
            if chosen:
                _ask(out, chosen, yes)
            for one in chosen:
                await leftovers.remove(backend, one.store_id)
            return chosen, [] if stores else await backend.sweep()

        done, builds = _with_leftovers(removed)
        if json:
            out.json({"stores": [_facts(one) for one in done], "builds": builds})
            return
        for one in done:
            if not one.has_run_directory_only:
                out.say(f"Removed {_parts(one)} of {one.store_id}.")
        if minor := sum(one.has_run_directory_only for one in done):
            out.say(f"Removed the run directories of {counted(minor, 'store')}.")
        for folder in builds:
            out.say(f"Removed the interrupted image build {folder}.")
        if not done and not builds:
            out.note("Nothing to remove.", "dim")


def _chosen(found: list["OfStore"], stores: list[str] | None) -> list["OfStore"]:
    """Raises Stop for a store that has no leftovers, or whose things are not left over."""
    if not stores:
        return [one for one in found if one.is_worthless]
    chosen = []
    for name in stores:
        fitting = [one for one in found if one.store_id.startswith(name)]
        if len(fitting) != 1:
            many = "more than one store begins so" if fitting else "nothing is left of such a store"
            raise Stop(Exit.NOT_FOUND, f"{name}: {many}. List them with `agentcontainer leftovers list`.")
        if not fitting[0].removable:
            raise Stop(Exit.FAILED, f"{fitting[0].store_id}: {fitting[0].why}. End that process first.")
        chosen += fitting
    return chosen


def _ask(out: "Output", chosen: list["OfStore"], yes: bool) -> None:
    from agentcontainer_local.cli.output import counted

    if yes:
        return
    if sys.stdin.isatty() and not out.as_json:
        for one in chosen:
            if not one.has_run_directory_only:
                out.note(f"{one.store_id}  {one.data_directory or ''}  {_parts(one)}")
        if typer.confirm(f"Remove the leftovers of {counted(len(chosen), 'store')}?", err=True):
            return
    raise Stop(
        Exit.FAILED,
        f"Nothing was removed. {counted(len(chosen), 'store')} can be removed: --yes removes without asking.",
    )


def _show(out: "Output", found: list[tuple["OfStore", int]], builds: list[str]) -> None:
    from agentcontainer_local.cli.output import counted, duration, size

    listed = [(one, size) for one, size in found if not one.has_run_directory_only]
    rows = [
        (
            one.store_id,
            one.state,
            "" if one.seconds_old is None else duration(one.seconds_old),
            size(bytes),
            _parts(one),
            one.data_directory or "",
        )
        for one, bytes in listed
    ]
    shapes = {"stores": [{**_facts(one), "sizeBytes": bytes} for one, bytes in found], "builds": builds}
    columns = ("store", "state", "age", "size", "left", "data directory~")
    minor = len(found) - len(listed)
    out.table(columns, rows, shapes, "" if minor or builds else "Nothing is left of deleted stores.")
    if out.as_json:
        return
    if minor:
        out.say(f"{'And ' if rows else ''}{counted(minor, 'store')} with a run directory only.")
    for folder in builds:
        out.say(f"An interrupted image build: {folder}")
    for one, _ in listed:
        if one.why:
            out.note(f"{one.store_id} is {one.state}: {one.why}.", "dim")


def _facts(one: "OfStore") -> dict[str, Any]:
    return {
        "store": one.store_id,
        "state": one.state,
        "reason": one.why or None,
        "dataDirectory": one.data_directory,
        "ageSeconds": None if one.seconds_old is None else round(one.seconds_old),
        "containers": one.parts.get("container", 0),
        "volumes": one.parts.get("volume", 0),
        "runDirectories": one.parts.get("run directory", 0),
    }


def _parts(one: "OfStore") -> str:
    from agentcontainer_local.cli.output import counted

    return ", ".join(counted(count, name) for name, count in one.parts.items())
