"""The `agentcontainer` command: its nouns, put together."""

from typing import Annotated

import typer

from agentcontainer_local.cli import (
    account,
    agents,
    backup,
    browser,
    chat,
    config,
    containers,
    doctor,
    images,
    install_service,
    leftovers,
    nodes,
    run,
    serve,
    tasks,
)
from agentcontainer_local.cli.exits import Exit
from agentcontainer_local.cli.help import App, examples

app = App(
    "AgentContainer on this machine: give tasks to agents that work in containers, and get files back.",
    examples("serve", 'run "Summarise sales.csv in report.md." -i sales.csv -o out')
    + "\n\n\b\nExit codes:\n"
    + "\n".join(f"  {code:<3}  {code.meaning}" for code in Exit),
)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from agentcontainer_local.process import build

        print(build.version())
        raise typer.Exit


run.add_to(app)
chat.add_to(app)
browser.add_to(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(agents.app, name="agents")
app.add_typer(containers.app, name="containers")
app.add_typer(images.app, name="images")
app.add_typer(leftovers.app, name="leftovers")
account.add_to(app)
config.add_to(app)
serve.add_to(app)
backup.add_to(app)
doctor.add_to(app)
nodes.add_to(app)
install_service.add_to(app)
