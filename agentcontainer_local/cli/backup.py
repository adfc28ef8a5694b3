"""`agentcontainer backup` and `restore`: a data directory in one file, and back.

Both work on the directory itself, and not through its server: a backup must be possible of a server that does not
start any more, and what is to be restored has no server yet.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.serve import as_service_account, settings_of
from agentcontainer_local.cli.session import JsonFlag, ending
from agentcontainer_local.environment import DATA

if TYPE_CHECKING:
    from agentcontainer_local.backup import Held
    from agentcontainer_local.cli.output import Output

Data = Annotated[str | None, typer.Option(metavar="DIR", help=f"Data directory [{DATA}].")]


def add_to(app: App) -> None:
    app.command("backup", example="backup backup.tar.gz")(backup)
    app.command("restore", example="restore backup.tar.gz --data /srv/agentcontainer")(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write (.tar.gz). It contains secrets.")],
    data: Data = None,
    json: JsonFlag = False,
) -> None:
    """Write the data directory into one file. The server may keep running."""
    from agentcontainer_local import backup as program

    with ending(json) as out:
        file = file.absolute()
        settings = as_service_account(settings_of(data=data))
        with out.transfer(file.name) as progress:
            held = program.backup(settings, file, progress)
        _tell(out, "written", file, settings.data, held)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that `agentcontainer backup` wrote.", exists=True)],
    data: Data = None,
    json: JsonFlag = False,
) -> None:
    """Make a data directory from a backup. Unfinished tasks continue when `serve` is started on it."""
    from agentcontainer_local import backup as program

    with ending(json) as out:
        file = file.absolute()
        settings = as_service_account(settings_of(data=data))
        with out.transfer(file.name, file.stat().st_size) as progress:
            held = program.restore(settings, file, progress)
        _tell(out, "restored", file, settings.data, held)


def _tell(out: "Output", what: str, file: Path, data: Path, held: "Held") -> None:
    from agentcontainer_local.cli.output import counted, size

    for line in held.warnings:
        out.note(f"Warning: {line}", "yellow")
    bytes = file.stat().st_size
    words = f"{counted(held.files, 'file')}, and workspace and session of {counted(held.tasks, 'task')} at work"
    out.done(
        f"{file}  {size(bytes)} {what}: {words}",
        {
            "file": str(file),
            "sizeBytes": bytes,
            "dataDirectory": str(data),
            "files": held.files,
            "tasks": held.tasks,
            "warnings": list(held.warnings),
        },
    )
