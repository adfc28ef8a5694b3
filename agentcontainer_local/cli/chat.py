"""`agentcontainer chat`: a conversation in the terminal."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from agentcontainer_local.cli import exits, names, session
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.run import (
    CODING,
    AgentFlag,
    VerboseFlag,
    follow,
    told,
)
from agentcontainer_local.cli.session import Session
from agentcontainer_local.cli.task_flags import ModelFlag, ProviderFlag, settings

if TYPE_CHECKING:
    from agentcontainer_local import schemas
    from agentcontainer_local.client.events import Event

INSTRUCTIONS = "You talk with a person at a terminal. Answer each message; use your tools where that helps."
HELP = (
    "/attach FILE sends a file with your next message. /files DIR downloads the agent's files. /finish lets the"
    " agent complete the work alone. /quit or Ctrl-D leaves."
)
QUIET = ("running", "pending", "awaiting_input")  # how it stands between turns goes without saying


def add_to(app: App) -> None:
    examples = ("chat -m claude-sonnet-4-5", "chat --task last")
    session.command(app, "chat", starts=session.AT_WORK, example=examples)(chat)


def chat(
    session: Session,
    agent: AgentFlag = CODING,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", metavar="TASK", help="Continue this conversation: id, title or `last`."),
    ] = None,
    instructions: Annotated[
        str, typer.Option(metavar="TEXT", help="Instructions for the whole conversation.")
    ] = INSTRUCTIONS,
    model: ModelFlag = None,
    provider: ProviderFlag = None,
    verbose: VerboseFlag = False,
) -> int:
    """Talk with an agent that has a container and tools. It waits up to an hour for your next message."""
    task = names.task(session, task) if task else None
    agent = names.agent(session, agent)
    session.out.note(HELP, "dim")
    talk = Talk(session, agent, task, instructions, settings(model, provider), verbose)
    while (words := _line(session)) is not None:
        if words.startswith("/"):
            if not _did(talk, words):
                break
        elif words.strip():
            talk.turn(words)
    if talk.attached:
        talk.note_attached("Not sent")
    if talk.task_id:
        session.out.note(f"Left. Continue with: agentcontainer chat --task {talk.task_id}", "dim")
    return Exit.DONE


def _did(talk: "Talk", words: str) -> bool:
    """False to leave. What goes wrong with a file is no reason to end the conversation."""
    from agentcontainer_local.client import ClientError

    try:
        return talk.command(words)
    except ClientError as error:
        talk.session.out.note(str(error), "red")
    except OSError as error:
        talk.session.out.note(f"{error.filename}: {error.strerror}", "red")
    return True


def _line(session: Session) -> str | None:
    """What the user says next; None at the end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - arrows and history in input()
    try:
        return input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        if session.out.rich:
            session.out.say("")
        return None


class Talk:
    """One conversation: begun with the first message, unless it is one that is there."""

    def __init__(
        self,
        session: Session,
        agent: str,
        task_id: str | None,
        instructions: str,
        overrides: dict[str, Any],
        verbose: bool,
    ):
        self.session = session
        self.task_id = task_id
        self._agent, self._instructions, self._overrides = agent, instructions, overrides
        self._verbose = verbose
        self.attached: dict[str, str] = {}  # the names, by their ids, of files that go with the next message
        self._after: int | None = None
        if task_id:
            self._after = next((event.id for event in session.client.list_events(task_id, order="desc", limit=1)), None)

    def command(self, words: str) -> bool:
        """False to leave."""
        from agentcontainer_local.cli import downloads

        name, _, given = words.partition(" ")
        match name:
            case "/quit" | "/exit":
                return False
            case "/attach" if Path(given.strip()).is_file():
                [file] = downloads.uploaded(self.session, [Path(given.strip())])
                self.attached[file.id] = file.filename
            case "/attach":
                self.session.out.note(f"There is no file {given.strip()}.", "red")
            case "/files" if self.task_id:
                downloads.fetch(self.session, self.task_id, Path(given.strip() or "."))
            case "/finish" if self.task_id and self.attached:
                self.note_attached("Send a message before /finish. It includes")
            case "/finish" if self.task_id:
                self._finish(self.task_id)
            case _:
                self.session.out.note(HELP, "dim")
        return True

    def note_attached(self, what: str) -> None:
        self.session.out.note(f"{what}: {', '.join(self.attached.values())}", "red")

    def _finish(self, task_id: str) -> NoReturn:
        """From here on it is a task, shown as `run` shows one."""
        self.session.client.update_task(task_id, mode="autonomous")
        quiet = self.session.out.as_json
        raise Stop(told(self.session, follow(self.session, task_id, self._verbose, quiet, self._after)))

    def turn(self, words: str) -> None:
        said = self._send(words)
        self.task_id = said.task.id
        try:
            self._answered(said.task.id, said.message.turn_number)
        except KeyboardInterrupt:
            self.session.out.note("\nThe agent continues its answer. Your next message is queued.", "dim")

    def _send(self, words: str) -> "schemas.TaskAndMessage":
        attached, self.attached = list(self.attached), {}
        if self.task_id:
            return self.session.client.create_message(self.task_id, content=words, input_file_ids=attached)
        return self.session.client.create_conversation(
            self._agent,
            {
                "instructions": self._instructions,
                "message": words,
                "inputFileIds": attached,
                "overrides": self._overrides,
            },
        )

    def _answered(self, task_id: str, turn: int | None) -> None:
        """Shows what comes until this turn is over."""
        from agentcontainer_local.cli.transcript import Transcript

        shown = Transcript(self.session.out, self._verbose)
        shown.hint = self.session.hint
        with shown.live(), contextlib.closing(self.session.client.stream(task_id, after=self._after)) as events:
            for event in events:
                self._after = event.id or self._after
                if self.session.out.as_json:
                    self.session.out.line({"id": event.id, "event": event.event, "data": event.data})
                elif event.event != "task.updated" or event.data["status"] not in QUIET:
                    shown.show(event.event, event.data)
                else:
                    shown.status = event.data["status"]
                if _is_over(event, turn):
                    break
        task = self.session.client.get_task(task_id)
        if task.status not in ("awaiting_input", "running", "pending"):
            raise Stop(
                exits.of_task(task.status, task.metadata),
                f"The conversation is {task.status}" + (f": {task.error}" if task.error else "."),
            )
        if task.turn_status == "failed":
            latest = self.session.client.list_messages(task_id, order="desc", limit=2)
            self.session.out.note(next((m.error for m in latest if m.error), "This turn failed."), "red")


def _is_over(event: "Event", turn: int | None) -> bool:
    return (
        event.event == "task.updated"
        and event.data.get("turnNumber") == turn
        and event.data.get("turnStatus") in ("completed", "failed")
    )
