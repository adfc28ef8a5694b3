"""The `agentcontainer` command: its nouns, put together."""

from typing import Annotated

import typer

from agentcontainer_local import __version__
from agentcontainer_local.cli import (
    account,
    agents,
    backup,
    chat,
    config,
    containers,
    doctor,
    images,
    install_service,
    run,
    serve,
    tasks,
)
from agentcontainer_local.cli.exits import Exit

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="The AgentContainer API on this machine.",
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:<3}  {code.meaning}" for code in Exit),
)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False):
    if version:
        print(__version__)
        raise typer.Exit


run.add_to(app)
chat.add_to(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(agents.app, name="agents")
app.add_typer(containers.app, name="containers")
app.add_typer(images.app, name="images")
account.add_to(app)
config.add_to(app)
app.command(name="serve")(serve.serve)
backup.add_to(app)
app.command(name="doctor")(doctor.command)
install_service.add_to(app)
