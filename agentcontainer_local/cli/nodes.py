"""`agentcontainer nodes`: machines that may run agents for this data directory; `node run` is what runs on them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.serve import as_service_account, settings_of
from agentcontainer_local.cli.session import JsonFlag, ending

app = App("Add, list and remove machines that run agents.")
program = App("What an engine starts on a node.")

Name = Annotated[str, typer.Argument(help="The node's name, as the engine has it.")]


def _authority() -> Any:
    from agentcontainer_local.sandbox import backends

    return backends.node_authority(as_service_account(settings_of()).data)


@app.command("add", example="nodes add n1 -o n1.pem")
def add(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the file here, readable for its owner alone."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Allow a machine, and print the file that it needs: its key and certificate. Put it on the node as
    ~/.config/agentcontainer/node.pem, readable for the account alone. The key is kept nowhere else."""
    from agentcontainer_local.process import atomic_file

    with ending(json) as out:
        try:
            bundle = _authority().add(name)
        except ValueError as error:
            raise Stop(Exit.WRONG_USE, str(error)) from None
        except FileExistsError:
            raise Stop(
                Exit.WRONG_USE, f"The node {name} is there already. To give it a new key, remove it first."
            ) from None
        if output is not None:
            atomic_file.write(output, bundle, 0o600)
        if out.as_json:
            out.line({"name": name, "file": bundle.decode() if output is None else str(output)})
        elif output is None:
            sys.stdout.buffer.write(bundle)
            sys.stdout.flush()


@app.command("list", example="nodes list")
def list_nodes(json: JsonFlag = False) -> None:
    """List the machines that are allowed, and since when."""
    with ending(json) as out:
        rows = [{"name": name, "addedAt": since.isoformat()} for name, since in _authority().nodes()]
        if out.as_json:
            for row in rows:
                out.line(row)
        else:
            for row in rows:
                print(f"{row['name']}  since {row['addedAt'][:16].replace('T', ' ')} UTC")
            if not rows:
                out.note("No node is allowed. Add one with `agentcontainer nodes add NAME`.")


@app.command("remove", example="nodes remove n1")
def remove(name: Name, json: JsonFlag = False) -> None:
    """Take a machine's permission away. Its connections are closed within a second."""
    with ending(json) as out:
        try:
            _authority().remove(name)
        except FileNotFoundError:
            raise Stop(Exit.NOT_FOUND, f"There is no node {name}. `agentcontainer nodes list` shows all.") from None
        if out.as_json:
            out.line({"name": name, "removed": True})


@program.command("run", hidden=True, example="node run tsk_x.run_y server:7443")
def run(
    job: Annotated[str, typer.Argument(help="The run, as the engine's job names it.")],
    address: Annotated[str, typer.Argument(help="Where the server listens for nodes: HOST:PORT.")],
) -> None:
    """Run one task's container in this job. An engine's job calls it; nobody else needs to."""
    import asyncio

    from agentcontainer_local.node import job as jobs
    from agentcontainer_local.process import entry_point, logs

    if not jobs.is_inside():
        raise typer.Exit(jobs.run(job, address, entry_point.again()))
    from agentcontainer_local.node import program

    logs.start("info", False)
    raise typer.Exit(asyncio.run(program.main(job, address)))


def add_to(parent: App) -> None:
    parent.add_typer(app, name="nodes")
    parent.add_typer(program, name="node", hidden=True)
