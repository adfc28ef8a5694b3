"""The `agentcontainer` command: its nouns, put together."""

from typing import Annotated

import typer

from agentcontainer_local import __version__
from agentcontainer_local.cli import exits, serve

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="The AgentContainer API on this machine.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items()) + ".",
)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False):
    if version:
        print(__version__)
        raise typer.Exit


app.command(name="serve")(serve.command)
