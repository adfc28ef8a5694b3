"""What the command's exit codes mean: one table, which `agentcontainer --help` and the README show."""

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """A code and its meaning."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "Exit":
        one = int.__new__(cls, code)
        one._value_, one.meaning = code, meaning
        return one

    DONE = 0, "done"
    FAILED = 1, "something went wrong; the reason is on stderr"
    WRONG_USE = 2, "wrong use"
    NO_SERVER = 3, "no server answers"
    NO_KEY = 4, "the API key is missing or wrong"
    NOT_FOUND = 5, "there is no such task, agent, container, file or key"
    TASK_FAILED = 6, "the task failed"
    TASK_CANCELLED = 7, "the task was cancelled, or expired"
    TASK_INCOMPLETE = 8, "the task finished, and the agent reported it as incomplete"
    INTERRUPTED = 130, "interrupted by Ctrl-C"
    TERMINATED = 143, "ended by SIGTERM"


def of_task(status: str, metadata: dict[str, Any]) -> Exit:
    """The exit code of a command that was about one task to its end."""
    if status == "finished":
        return Exit.TASK_INCOMPLETE if metadata.get("completion") == "incomplete" else Exit.DONE
    return {"failed": Exit.TASK_FAILED, "cancelled": Exit.TASK_CANCELLED, "expired": Exit.TASK_CANCELLED}.get(
        status, Exit.DONE
    )


class Stop(Exception):
    """Ends the command with an exit code, and with words on stderr if there are any."""

    def __init__(self, code: Exit, message: str = ""):
        super().__init__(message)
        self.code = code
        self.message = message
