"""`agentcontainer run`: dispatch a task, watch it, and have its files."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcontainer_local.cli import exits, names, session
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import Session
from agentcontainer_local.cli.task_flags import (
    CostFlag,
    HostsFlag,
    InternetFlag,
    ModelFlag,
    ProviderFlag,
    RuntimeFlag,
    TokensFlag,
    settings,
)

if TYPE_CHECKING:
    from agentcontainer_local import schemas
    from agentcontainer_local.cli.transcript import Transcript

CODING = "agt_standard_coding"

AgentFlag = Annotated[str, typer.Option("--agent", "-a", metavar="AGENT", help="Id or name of the agent.")]
VerboseFlag = Annotated[bool, typer.Option("--verbose", "-v", help="Show commands and outputs in full.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Show the result only.")]


def add_to(app: App) -> None:
    session.command(
        app,
        "run",
        starts=session.AT_WORK,
        example=(
            'run "Summarise sales.csv in report.md." -i sales.csv -o out',
            "run - --max-runtime 600 --detach < instructions.md",
        ),
    )(run)


def run(
    session: Session,
    instructions: Annotated[
        str | None, typer.Argument(metavar="INSTRUCTIONS", help="Instructions for the agent; `-` reads stdin.")
    ] = None,
    input: Annotated[
        list[Path] | None,
        typer.Option("--input", "-i", metavar="PATH", help="File or directory for the agent. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the agent's files. By default a new one."),
    ] = None,
    agent: AgentFlag = CODING,
    model: ModelFlag = None,
    provider: ProviderFlag = None,
    expect: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Names of required outputs, for example report,dataset")
    ] = None,
    internet: InternetFlag = None,
    allow_host: HostsFlag = None,
    max_runtime: RuntimeFlag = None,
    max_cost: CostFlag = None,
    max_tokens: TokensFlag = None,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Title. By default the first line of the instructions.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Dispatch the task, print its id, and end.")] = False,
    verbose: VerboseFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Dispatch a task, follow it, and download its files. Ctrl-C asks whether to cancel the task or to leave it
    running."""
    from agentcontainer_local.cli import downloads

    if detach and session.own:
        raise Stop(Exit.WRONG_USE, "--detach needs a server that keeps running. Start one with `agentcontainer serve`.")
    words, paths = _instructions(instructions), _readable(input or [])
    downloads.check(output or Path())
    agent_id = names.agent(session, agent)
    files = downloads.uploaded(session, paths)
    task = session.client.create_task(
        agent_id,
        {
            "instructions": words,
            "inputFileIds": [file.id for file in files],
            "overrides": settings(model, provider, internet, allow_host, max_runtime, max_cost, max_tokens, expect),
            **({"title": title} if title else {}),
        },
    )
    if detach:
        session.out.json(task) if session.out.as_json else session.out.say(task.id)
        return Exit.DONE
    session.out.note(f"{task.id}  {task.agent_name}, {task.execution.model}", "dim")
    ended = follow(session, task.id, verbose, quiet or session.out.as_json)
    return told(session, ended, output)


def _instructions(given: str | None) -> str:
    if given is None and sys.stdin.isatty():
        example = 'agentcontainer run "Summarise sales.csv" -i sales.csv'
        raise Stop(Exit.WRONG_USE, f"There are no instructions. Example: {example}")
    words = sys.stdin.read() if given in (None, "-") else given
    if not words.strip():
        raise Stop(Exit.WRONG_USE, "The instructions are empty.")
    return words


def _readable(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not path.is_file() and not path.is_dir():
            raise Stop(Exit.WRONG_USE, f"{path} is neither a file nor a directory.")
    return paths


def follow(
    session: Session, task_id: str, verbose: bool = False, quiet: bool = False, after: int | None = None
) -> "schemas.Task":
    """Shows what happens after that event until the task has ended; answers it. Raises Stop where the user left it."""
    shown: Transcript | None = None
    while True:
        try:
            shown = shown or _transcript(session, verbose)  # takes a moment, in which Ctrl-C counts already
            with shown.live() if not quiet else contextlib.nullcontext():
                for event in session.client.stream(task_id, after=after):
                    after = event.id or after
                    if not quiet:
                        shown.show(event.event, event.data)
                    if event.event in ("activity.completed", "message.created"):
                        shown.task = session.client.get_task(task_id)
            return session.client.get_task(task_id)
        except KeyboardInterrupt:
            _leave_or_stay(session, task_id)


def _transcript(session: Session, verbose: bool) -> "Transcript":
    from agentcontainer_local.cli.transcript import Transcript

    shown = Transcript(session.out, verbose)
    shown.hint = session.hint
    return shown


def _leave_or_stay(session: Session, task_id: str) -> None:
    """After Ctrl-C: returns to keep watching. A second Ctrl-C cancels, and so does the first without a terminal."""
    choice = "c"
    later = "when a server runs again" if session.own else "by itself"
    if sys.stdin.isatty():
        session.out.note(
            f"\nThe task is running. c or Ctrl-C again: cancel it; d: detach, it goes on {later}; Enter: keep watching."
        )
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            choice = input("c/d/Enter: ").strip().lower()[:1]
    if choice == "d":
        words = f"Detached. Follow it with: agentcontainer tasks logs -f {task_id}"
        session.out.note(words if not session.own else f"The task goes on when a server runs again. {words}")
        raise Stop(Exit.DONE)
    if choice == "c":
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            status = session.client.cancel_task(task_id).status
        finally:
            signal.signal(signal.SIGINT, before)
        raise Stop(Exit.INTERRUPTED, f"The task {ENDINGS.get(status, status)}.")


def told(session: Session, task: "schemas.Task", output: Path | None = None) -> Exit:
    """Shows the result, then downloads the files."""
    from agentcontainer_local.cli import downloads

    code = exits.of_task(task.status, task.metadata)
    if not session.out.as_json:
        _show_result(session, task, code)
    try:
        files = downloads.fetch(session, task.id, output or Path(f"agentcontainer-{task.id[-8:]}"))
    except OSError as error:
        if session.out.as_json:
            session.out.json({**task.model_dump(mode="json", by_alias=True), "outputs": None})
        raise Stop(
            Exit.FAILED,
            f"{error.filename}: {error.strerror}. The files were not all written. Download them"
            f" with: agentcontainer tasks files {task.id} -o DIR",
        ) from None
    if session.out.as_json:
        session.out.json({**task.model_dump(mode="json", by_alias=True), "outputs": files})
    elif not files:
        session.out.note(downloads.NONE, "dim")
    return code


def _show_result(session: Session, task: "schemas.Task", code: Exit) -> None:
    from agentcontainer_local.cli.transcript import summary

    session.out.note(summary(task), "dim")
    if task.status == "finished":
        session.out.say(task.result or "", "bold")
        if code is Exit.TASK_INCOMPLETE:
            session.out.note("The agent reported the task as incomplete.", "yellow")
    else:
        session.out.note(f"The task {ENDINGS[task.status]}" + (f": {task.error}" if task.error else "."), "red")
        if task.status == "failed" and not session.own:
            session.out.note(f"Its workspace is kept for a while: agentcontainer tasks workspace {task.id}", "dim")


ENDINGS = {"failed": "failed", "cancelled": "was cancelled", "expired": "expired"}
