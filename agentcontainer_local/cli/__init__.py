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
    exits,
    images,
    install_service,
    run,
    serve,
    tasks,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="The AgentContainer API on this machine.",
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:<3}  {meaning}" for code, meaning in exits.MEANINGS.items()),
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
app.command(name="serve")(serve.command)
backup.add_to(app)
app.command(name="doctor")(doctor.command)
install_service.add_to(app)
