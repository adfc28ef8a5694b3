"""`agentcontainer backup` and `restore`: a data directory in one file, and back."""

from pathlib import Path
from typing import Annotated

import typer

from agentcontainer_local.cli.serve import as_service_account, settings_of
from agentcontainer_local.cli.session import ending

Data = Annotated[str | None, typer.Option(help="Data directory [AGENTCONTAINER_DATA].")]


def add_to(app: typer.Typer) -> None:
    app.command(name="backup")(backup)
    app.command(name="restore")(restore)


def backup(
    file: Annotated[Path, typer.Argument(help="What to write (.tar.gz); it holds the secrets too.")],
    data: Data = None,
) -> None:
    """Write the data directory into one file, while its server works or without one."""
    from agentcontainer_local import backup as program

    settings = as_service_account(settings_of(data=data))
    with ending():
        program.backup(settings, file.absolute(), print)


def restore(
    file: Annotated[Path, typer.Argument(help="What `agentcontainer backup` wrote.", exists=True)], data: Data = None,
) -> None:
    """Make a data directory from a backup; tasks that had not ended go on with the next `serve`."""
    from agentcontainer_local import backup as program

    settings = as_service_account(settings_of(data=data))
    with ending():
        program.restore(file.absolute(), settings.data, print)
