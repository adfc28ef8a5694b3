"""What the command's exit codes mean; `agentcontainer --help` shows them."""

DONE = 0
FAILED = 1              # something went wrong; the reason is on stderr
WRONG_USE = 2
NO_SERVER = 3
NO_KEY = 4              # the server does not know the key, or none was given
NOT_FOUND = 5
TASK_FAILED = 6
TASK_CANCELLED = 7      # or expired
TASK_INCOMPLETE = 8     # finished, but the agent says that it could not do all of it
INTERRUPTED = 130
TERMINATED = 143

MEANINGS = {
    DONE: "done",
    FAILED: "something went wrong; the reason is on stderr",
    WRONG_USE: "wrong use",
    NO_SERVER: "no server answers",
    NO_KEY: "the API key is missing or wrong",
    NOT_FOUND: "there is no such task, agent, container, file or key",
    TASK_FAILED: "the task failed",
    TASK_CANCELLED: "the task was cancelled, or expired",
    TASK_INCOMPLETE: "the task finished, but is incomplete by the agent's own word",
    INTERRUPTED: "interrupted by Ctrl-C",
}


def of_task(status: str, metadata: dict) -> int:
    """The exit code of a command that was about one task to its end."""
    if status == "finished":
        return TASK_INCOMPLETE if metadata.get("completion") == "incomplete" else DONE
    return {"failed": TASK_FAILED, "cancelled": TASK_CANCELLED, "expired": TASK_CANCELLED}.get(status, DONE)


class Stop(Exception):
    """Ends the command with an exit code, and with words on stderr if there are any."""

    def __init__(self, code: int, message: str = ""):
        super().__init__(message)
        self.code = code
        self.message = message
