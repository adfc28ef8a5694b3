"""`agentcontainer tasks`: what was dispatched, and what becomes of it."""

from pathlib import Path
from typing import Annotated

import typer

from agentcontainer_local.cli.containers import given
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.session import Session, command

app = typer.Typer(no_args_is_help=True, help="Tasks: what was dispatched, and what becomes of it.")
Id = Annotated[str, typer.Argument(metavar="TASK", help="The task's id; `last` is the latest.")]


def _id(session: Session, given: str) -> str:
    if given != "last":
        return given
    for task in session.client.list_tasks(limit=1):
        return task.id
    raise Stop(Exit.NOT_FOUND, "There is no task yet.")


@command(app, "list")
def list_tasks(
    session: Session,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only those that are pending, running, finished, ...")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="COUNT", help="The latest so many.")] = 20,
) -> None:
    """The latest tasks."""
    from agentcontainer_local.cli import output
    from agentcontainer_local.cli.transcript import standing

    tasks = list(session.client.list_tasks(agent_id=agent, status=status, limit=limit))
    rows = [(task.id, standing(task), output.age(task.created_at), output.usd(task.cost_usd), task.title)
            for task in tasks]
    session.out.table(("id", "status", "age", "cost", "title~"), rows, tasks,
                      'No tasks yet: agentcontainer run "..." dispatches one.')


@command(app, "show")
def show(session: Session, task: Id) -> None:
    """One task, with its outputs."""
    from agentcontainer_local.cli import output
    from agentcontainer_local.cli.transcript import standing, summary

    found = session.client.get_task(_id(session, task))
    files = list(session.client.list_task_files(found.id))
    shape = {**found.model_dump(mode="json", by_alias=True), "outputs": output.plain(files)}
    session.out.facts({
        "id": found.id, "title": found.title, "status": standing(found),
        "place in queue": str(found.queue_position) if found.queue_position else None,
        "wakes at": found.hibernate_until_at, "mode": found.mode if found.turn_number is None
        else f"{found.mode}, turn {found.turn_number} {found.turn_status}",
        "agent": f"{found.agent_name} ({found.agent_id})",
        "model": f"{found.execution.model} ({found.execution.provider})",
        "made": f"{found.created_at} ({output.age(found.created_at)} ago)", "ended": found.completed_at,
        "used": summary(found), "result": found.result,
        "error": output.Text(output.clean(found.error), "red") if found.error else None,
        "outputs": "\n".join(f"{file.filename}  {output.size(file.size_bytes)}" for file in files) or None,
        "instructions": found.instructions,
    }, shape)


@command(app, "logs")
def logs(
    session: Session, task: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on to the task's end.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Commands and outputs whole.")] = False,
) -> None:
    """What the agent said and did. With --json one event a line, as the API has them."""
    from agentcontainer_local.cli.transcript import Transcript

    id, shown = _id(session, task), Transcript(session.out, verbose, users=True)
    with shown.live() if follow else _plainly():
        for event in session.client.stream(id) if follow else session.client.list_events(id):
            if session.out.as_json:
                session.out.line({"id": event.id, "event": event.event, "data": event.data})
            else:
                shown.show(event.event, event.data)


def _plainly():
    import contextlib

    return contextlib.nullcontext()


@command(app, "calls")
def calls(session: Session, task: Id) -> None:
    """The task's calls to models. Tokens in, from the cache, to it, and out; and the cost, with ~ where estimated."""
    from agentcontainer_local.cli import output

    found = list(session.client.list_model_calls(_id(session, task)))
    rows = [(output.age(call.started_at), output.between(call.started_at, call.ended_at), call.status or "at work",
             call.model, output.number(call.input_tokens), output.number(call.cache_read_tokens),
             output.number(call.cache_write_tokens), output.number(call.output_tokens),
             output.usd(call.cost_usd) + ("~" if call.estimated else "")) for call in found]
    columns = ("age", "took", "status", "model~", "in", "cached", "written", "out", "cost")
    session.out.table(columns, rows, found, "No model was called yet.")


@command(app, "cancel")
def cancel(session: Session, tasks: Annotated[list[str], typer.Argument(metavar="TASK", help="Their ids.")]) -> None:
    """Stop tasks; their containers go away."""
    cancelled = []
    for task in tasks:
        cancelled.append(session.client.cancel_task(_id(session, task)))
        if not session.out.as_json:     # at once: the next one may be refused
            session.out.say(f"{cancelled[-1].id}  {cancelled[-1].status}")
    if session.out.as_json:
        session.out.json(cancelled)


@command(app, "wake")
def wake(
    session: Session, task: Id,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="What to tell it.")] = None,
) -> None:
    """Wake a task that hibernates."""
    fields = {"kind": "message", "message": message} if message else {"kind": "external_wake"}
    woken = session.client.wake_task(_id(session, task), **fields)
    session.out.json(woken) if session.out.as_json else session.out.say(f"{woken.id}  {woken.status}")


@command(app, "update")
def update(
    session: Session, task: Id,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is called from now on.")] = None,
    autonomous: Annotated[bool, typer.Option(
        "--autonomous", help="It takes no more messages, and works until it is done; there is no way back.")] = False,
) -> None:
    """Rename a task, or let a conversation finish by itself."""
    if title is None and not autonomous:
        raise Stop(Exit.WRONG_USE, "Say what to change: --title, or --autonomous.")
    fields = given(title=title, mode="autonomous" if autonomous else None)
    updated = session.client.update_task(_id(session, task), fields)
    session.out.done(f"{updated.id}  {updated.status}", updated)


@command(app, "files")
def files(
    session: Session, task: Id,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", metavar="DIR", help="Fetch them into this folder.")] = None,
) -> None:
    """The files that the agent handed over: listed, or fetched."""
    from agentcontainer_local.cli import downloads
    from agentcontainer_local.cli.output import size

    id = _id(session, task)
    if output is not None:
        fetched = downloads.fetch(session, id, output)
        if session.out.as_json:
            session.out.json(fetched)
        return
    found = list(session.client.list_task_files(id))
    rows = [(file.filename, file.output_name or "", size(file.size_bytes), file.id) for file in found]
    session.out.table(("name~", "output", "size", "id"), rows, found, "No files.")


@command(app, "open")
def open_page(session: Session, task: Id) -> None:
    """Show the task in the browser, on the server's page. Where there is no browser, print the page's address."""
    import os
    import webbrowser

    found = session.client.get_task(_id(session, task))
    url = f"{session.url}/#/tasks/{found.id}"
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    opened = screen and not session.out.as_json and webbrowser.open(url)
    session.out.json({"url": url, "opened": bool(opened)}) if session.out.as_json else session.out.say(url)
