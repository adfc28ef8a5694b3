"""`agentcontainer tasks`: what was dispatched, and what becomes of it."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcontainer_local.cli import names
from agentcontainer_local.cli.containers import given
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import AT_REST, Session, command
from agentcontainer_local.money import shown

if TYPE_CHECKING:
    from agentcontainer_local import schemas

app = App("List, follow, change and cancel tasks.")
Task = Annotated[str, typer.Argument(metavar="TASK", help="Id or title of the task; `last` is the latest one.")]


@command(app, "list", example="tasks list --status running")
def list_tasks(
    session: Session,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only tasks with this status: running, finished, ...")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="AGENT", help="Only tasks of this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="COUNT", help="Number of tasks.")] = 20,
) -> None:
    """List the latest tasks."""
    from agentcontainer_local.cli import output
    from agentcontainer_local.cli.transcript import standing

    agent_id = names.agent(session, agent) if agent else None
    tasks = list(session.client.list_tasks(agent_id=agent_id, status=status, limit=limit))
    rows = [(task.id, standing(task), output.age(task.created_at), shown(task.cost_usd), task.title) for task in tasks]
    session.out.table(
        ("id", "status", "age", "cost", "title~"),
        rows,
        tasks,
        'There are no tasks. `agentcontainer run "..."` dispatches one.',
    )


@command(app, "show", example="tasks show last")
def show(session: Session, task: Task) -> None:
    """Show one task, with its result and its files."""
    from rich.text import Text

    from agentcontainer_local.cli import lines, output
    from agentcontainer_local.cli.transcript import standing, summary
    from agentcontainer_local.process.text import clean

    found = session.client.get_task(names.task(session, task))
    files = list(session.client.list_task_files(found.id))
    shape = {**found.model_dump(mode="json", by_alias=True), "outputs": lines.plain(files)}
    session.out.facts(
        {
            "id": found.id,
            "title": found.title,
            "status": standing(found),
            "place in queue": str(found.queue_position) if found.queue_position else None,
            "wakes at": found.hibernate_until_at,
            "mode": found.mode
            if found.turn_number is None
            else f"{found.mode}, turn {found.turn_number} {found.turn_status}",
            "agent": f"{found.agent_name} ({found.agent_id})",
            "model": _model(found),
            "node": found.walls.node if found.walls else None,
            "made": f"{found.created_at} ({output.age(found.created_at)} ago)",
            "ended": found.completed_at,
            "used": summary(found),
            "result": found.result,
            "error": Text(clean(found.error), "red") if found.error else None,
            "outputs": "\n".join(f"{file.filename}  {output.size(file.size_bytes)}" for file in files) or None,
            "instructions": found.instructions,
        },
        shape,
    )


def _model(task: "schemas.Task") -> str:
    """The scripted model is nobody's."""
    model = task.execution.model
    return model if model == "scripted" else f"{model} ({task.execution.provider})"


@command(app, "logs", example="tasks logs -f last")
def logs(
    session: Session,
    task: Task,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the task has ended.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show commands and outputs in full.")] = False,
) -> None:
    """Show what the agent said and did. With --json, one event of the API on each line."""
    from agentcontainer_local.cli.transcript import Transcript

    id, shown = names.task(session, task), Transcript(session.out, verbose, users=True)
    if follow and session.own and session.client.get_task(id).completed_at is None:
        raise Stop(
            Exit.NO_SERVER,
            "No server runs, so this task makes no progress. Start one with `agentcontainer"
            " serve`, or leave out --follow.",
        )
    with shown.live() if follow else contextlib.nullcontext():
        for event in session.client.stream(id) if follow else session.client.list_events(id):
            if session.out.as_json:
                session.out.line({"id": event.id, "event": event.event, "data": event.data})
            else:
                shown.show(event.event, event.data)


@command(app, "workspace", example="tasks workspace last -o workspace.tar")
def workspace(
    session: Session,
    task: Task,
    path: Annotated[str | None, typer.Argument(metavar="PATH", help="Only this file.")] = None,
    save: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Save all files to FILE, a tar archive, or the one file."),
    ] = None,
) -> None:
    """List or download the files that a failed task left behind. The server keeps them for one day by default."""
    from agentcontainer_local.cli import output
    from agentcontainer_local.client import folder

    id = names.task(session, task)
    if path is None and save is None:
        entries = list(session.client.list_workspace(id))
        rows = [
            (
                output.size(entry.size_bytes) if entry.type == "file" else entry.type,
                output.age(entry.modified_at),
                entry.path,
            )
            for entry in entries
        ]
        session.out.table(("size", "age", "path"), rows, entries, "The workspace is empty.")
        return
    target = save or Path(folder.safe(path or ""))
    if target.exists():
        raise Stop(Exit.WRONG_USE, f"{target} already exists. Choose another name with -o.")
    with session.out.transfer(target.name) as progress:
        if path is None:
            session.client.download_workspace(id, target, progress=progress)
        else:
            session.client.download_workspace_file(id, path, target, progress=progress)
    session.out.done(str(target), {"path": str(target)})


@command(app, "calls", example="tasks calls last")
def calls(session: Session, task: Task) -> None:
    """Show the task's model calls. Columns: tokens in, read from the cache, written to it, and out. ~ marks an
    estimated cost."""
    from agentcontainer_local.cli import output

    found = list(session.client.list_model_calls(names.task(session, task)))
    rows = [
        (
            output.age(call.started_at),
            output.between(call.started_at, call.ended_at),
            call.status or "at work",
            call.model,
            output.number(call.input_tokens),
            output.number(call.cache_read_tokens),
            output.number(call.cache_write_tokens),
            output.number(call.output_tokens),
            shown(call.cost_usd) + ("~" if call.estimated else ""),
        )
        for call in found
    ]
    columns = ("age", "took", "status", "model~", "in", "cached", "written", "out", "cost")
    session.out.table(columns, rows, found, "The task has made no model calls yet.")


@command(app, "cancel", starts=AT_REST, example="tasks cancel last")
def cancel(
    session: Session,
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="Ids or titles of tasks.")],
) -> None:
    """Stop tasks and remove their containers."""
    cancelled = []
    for task in tasks:
        cancelled.append(session.client.cancel_task(names.task(session, task)))
        if not session.out.as_json:  # at once: the next one may be refused
            session.out.say(f"{cancelled[-1].id}  {cancelled[-1].status}")
    if session.out.as_json:
        session.out.json(cancelled)


@command(app, "wake", starts=None, example='tasks wake last -m "The file has arrived."')
def wake(
    session: Session,
    task: Task,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="Message to the agent.")
    ] = None,
) -> None:
    """Wake a hibernating task."""
    id = names.task(session, task)
    wake_task = session.client.wake_task
    woken = wake_task(id, kind="message", message=message) if message else wake_task(id, kind="external_wake")
    session.out.done(f"{woken.id}  {woken.status}", woken)


@command(app, "update", example='tasks update last --title "Sales of March"')
def update(
    session: Session,
    task: Task,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="New title.")] = None,
    autonomous: Annotated[
        bool,
        typer.Option(
            "--autonomous", help="The agent takes no more messages and completes the work alone. This is final."
        ),
    ] = False,
) -> None:
    """Rename a task, or let a conversation finish by itself."""
    if title is None and not autonomous:
        raise Stop(Exit.WRONG_USE, "Nothing to change. Give --title or --autonomous.")
    fields = given(title=title, mode="autonomous" if autonomous else None)
    updated = session.client.update_task(names.task(session, task), fields)
    session.out.done(f"{updated.id}  {updated.status}", updated)


@command(app, "files", example="tasks files last -o results")
def files(
    session: Session,
    task: Task,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Download the files into this folder.")
    ] = None,
) -> None:
    """List or download the files that the agent handed over."""
    from agentcontainer_local.cli import downloads
    from agentcontainer_local.cli.output import size

    id = names.task(session, task)
    if output is not None:
        downloads.check(output)
        fetched = downloads.fetch(session, id, output)
        if session.out.as_json:
            session.out.json(fetched)
        elif not fetched:
            session.out.note(downloads.NONE, "dim")
        return
    found = list(session.client.list_task_files(id))
    rows = [(file.filename, file.output_name or "", size(file.size_bytes), file.id) for file in found]
    session.out.table(("name~", "output", "size", "id"), rows, found, downloads.NONE)


@command(app, "open", starts=None, example="tasks open last")
def open_page(session: Session, task: Task) -> None:
    """Show the task on the server's page, in the browser. Without a browser, print the page's address."""
    from agentcontainer_local.cli.browser import show

    show(session, f"#/tasks/{session.client.get_task(names.task(session, task)).id}")
