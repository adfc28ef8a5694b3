"""`agentcontainer run`: dispatch a task, watch it, and have its files."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcontainer_local.cli import exits, session
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.session import Session

CODING = "agt_standard_coding"

AgentFlag = Annotated[str, typer.Option("--agent", "-a", metavar="ID", help="The agent's id.")]
ModelFlag = Annotated[str | None, typer.Option(
    "--model", "-m", metavar="ID", help="A model's id; `scripted` needs no key.")]
ProviderFlag = Annotated[str | None, typer.Option(
    "--provider", metavar="NAME", help="anthropic, openai or openrouter.")]
InternetFlag = Annotated[bool | None, typer.Option(
    "--internet/--no-internet", help="Whether the agent has the internet; else as its definition says.")]
HostsFlag = Annotated[list[str] | None, typer.Option(
    "--allow-host", metavar="HOST", help="A host that it may reach without internet; may be repeated.")]
CostFlag = Annotated[float | None, typer.Option(
    "--max-cost", metavar="USD", help="What its model calls may cost.")]
TokensFlag = Annotated[int | None, typer.Option(
    "--max-tokens", metavar="COUNT", help="What its model calls may use, in and out.")]
VerboseFlag = Annotated[bool, typer.Option("--verbose", "-v", help="Show commands and outputs whole.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Show only what came of it.")]


def add_to(app: typer.Typer) -> None:
    session.command(app, "run", starts=session.AT_WORK)(run)


def run(
    session: Session,
    instructions: Annotated[str | None, typer.Argument(
        metavar="INSTRUCTIONS", help="What to do; `-` reads it from stdin.")] = None,
    input: Annotated[list[Path] | None, typer.Option(
        "--input", "-i", metavar="FILE", help="A file for the agent; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", metavar="DIR", help="Where its files go; by default a new folder.")] = None,
    agent: AgentFlag = CODING,
    model: ModelFlag = None,
    provider: ProviderFlag = None,
    expect: Annotated[str | None, typer.Option(
        metavar="NAMES", help="Outputs that it must hand over, by name: report,dataset")] = None,
    internet: InternetFlag = None,
    allow_host: HostsFlag = None,
    max_runtime: Annotated[int | None, typer.Option(metavar="SECONDS", help="That it may take.")] = None,
    max_cost: CostFlag = None,
    max_tokens: TokensFlag = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="By default the instructions' first line.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Dispatch, print the task's id, and leave.")] = False,
    verbose: VerboseFlag = False,
    quiet: QuietFlag = False,
) -> int:
    """Have an agent do something, and get its files. It is watched; Ctrl-C asks whether to cancel or to leave it."""
    from agentcontainer_local.cli import downloads

    if detach and session.own:
        raise Stop(Exit.WRONG_USE, "A task that is left alone needs a server that stays: `agentcontainer serve`.")
    words, paths = _instructions(instructions), _readable(input or [])
    files = downloads.uploaded(session, paths)
    task = session.client.create_task(agent, {
        "instructions": words, "inputFileIds": [file.id for file in files],
        "overrides": overrides(model, provider, internet, allow_host, max_runtime, max_cost, max_tokens, expect),
        **({"title": title} if title else {}),
    })
    if detach:
        session.out.json(task) if session.out.as_json else session.out.say(task.id)
        return Exit.DONE
    session.out.note(f"{task.id}  {task.agent_name}, {task.execution.model}", "dim")
    ended = follow(session, task.id, verbose, quiet or session.out.as_json)
    return told(session, ended, output)


def overrides(
    model: str | None, provider: str | None, internet: bool | None = None, hosts: list[str] | None = None,
    max_runtime: int | None = None, max_cost: float | None = None, max_tokens: int | None = None,
    expect: str | None = None,
) -> dict[str, Any]:
    names = [name.strip() for name in (expect or "").split(",") if name.strip()]
    policy = {"mode": "named", "files": [{"name": name} for name in names]} if names else None
    given = {"model": model, "provider": provider, "internetAccess": internet, "allowedHosts": hosts or None,
             "maxRuntimeSeconds": max_runtime, "maxCostUsd": max_cost, "maxTokens": max_tokens, "outputPolicy": policy}
    return {name: value for name, value in given.items() if value is not None}


def _instructions(given: str | None) -> str:
    if given is None and sys.stdin.isatty():
        raise Stop(Exit.WRONG_USE, 'Say what to do: agentcontainer run "Summarise sales.csv" -i sales.csv')
    words = sys.stdin.read() if given in (None, "-") else given
    if not words.strip():
        raise Stop(Exit.WRONG_USE, "The instructions are empty.")
    return words


def _readable(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not path.is_file():
            raise Stop(Exit.WRONG_USE, f"{path} is {'a folder: give its files' if path.is_dir() else 'not a file'}.")
    return paths


def follow(session: Session, task_id: str, verbose: bool = False, quiet: bool = False, after: int | None = None):
    """Shows what happens after that event until the task has ended; answers it. Raises Stop where the user left it."""
    from agentcontainer_local.cli.transcript import Transcript

    shown = Transcript(session.out, verbose)
    shown.hint = session.hint
    while True:
        try:
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


def _leave_or_stay(session: Session, task_id: str) -> None:
    """After Ctrl-C: returns to stay; a second one, or nobody to ask, cancels."""
    choice = "c"
    later = "when a server runs again" if session.own else "by itself"
    if sys.stdin.isatty():
        session.out.note(f"\nThe task is at work. c: cancel it, d: detach (it goes on {later}), Enter: stay.")
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            choice = input("c/d/Enter: ").strip().lower()[:1]
    if choice == "d":
        words = f"Left alone: agentcontainer tasks logs -f {task_id}"
        session.out.note(words if not session.own else f"It goes on with the next server. {words}")
        raise Stop(Exit.DONE)
    if choice == "c":
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            status = session.client.cancel_task(task_id).status
        finally:
            signal.signal(signal.SIGINT, before)
        raise Stop(Exit.INTERRUPTED, f"The task is {status}.")


def told(session: Session, task, output: Path | None = None) -> int:
    """What came of it, with its files."""
    from agentcontainer_local.cli import downloads
    from agentcontainer_local.cli.transcript import summary

    code = exits.of_task(task.status, task.metadata)
    files = downloads.fetch(session, task.id, output or Path(f"agentcontainer-{task.id[-8:]}"))
    if session.out.as_json:
        session.out.json({**task.model_dump(mode="json", by_alias=True), "outputs": files})
    else:
        session.out.note(summary(task), "dim")
        if task.status == "finished":
            session.out.say(task.result or "", "bold")
            if code is Exit.TASK_INCOMPLETE:
                session.out.note("The task is incomplete, by the agent's own word.", "yellow")
        else:
            session.out.note(f"The task is {task.status}" + (f": {task.error}" if task.error else "."), "red")
    return code
