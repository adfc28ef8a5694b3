"""What can go wrong with a sandbox; every message says what to do.

Whose fault it is decides what becomes of a task. `Unavailable` is the machine's: the task waits, and is tried again.
A refusal with a status below 500, and every other error here, is the task's own: it fails at once. A refusal with a
status of 500 can be either, and Podman's words do not always tell: the task is tried a few times, and then fails.
"""

import re

# Podman's words, and those of the runtimes and file systems below it, for what no task can cause or mend.
_MACHINE = (
    "no space left on device", "disk quota exceeded", "read-only file system", "input/output error",
    "too many open files", "cannot allocate memory", "resource temporarily unavailable", "out of memory",
    "database is locked", "exceeded num_locks", "opening seccomp profile failed", "pause process", "newuidmap",
    "newgidmap", "cannot re-exec process", "no subuid ranges", r"\bconmon\b", "slirp4netns failed", "pasta failed",
    "sd-bus", "dbus:", "transient unit", r"\bcgroups?\b",
)  # fmt: skip
# Of a container these are about its helpers; of a pull, about a registry that the task has named.
_CONNECTIONS = ("connection reset by peer", "connection refused", "broken pipe", "i/o timeout")
OF_A_CONTAINER = re.compile("|".join((*_MACHINE, *_CONNECTIONS)), re.IGNORECASE)
OF_A_COMMAND = re.compile("|".join(_MACHINE), re.IGNORECASE)
GONE = "no such file or directory"


class SandboxError(RuntimeError):
    """Podman did not do what it was asked to."""


class ImageMissing(SandboxError):
    """The image is not in this account's storage."""


class Unavailable(SandboxError):
    """This machine cannot do it at the moment; nothing is known about what was asked."""


class Unwalled(SandboxError):
    """A container was not started, for its network is not closed where it must be."""


class Refusal(SandboxError):
    """Podman answered, and its answer is no."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def refused(said: str, status: int, runtime_dirs: tuple[str, ...]) -> SandboxError:
    """The error for a refusal of Podman's. `runtime_dirs`: what is missing in one of these is not the task's fault."""
    words = f"Podman: {said}"
    gone = GONE in said.lower() and any(directory in said for directory in runtime_dirs)
    if status >= 500 and (gone or OF_A_CONTAINER.search(said)):
        return Unavailable(words)
    return Refusal(words, status)


def failed(command: str, code: int, said: str) -> SandboxError:
    """The error for a podman command that failed: a pull fails for its image, unless the machine cannot do it."""
    words = f"podman {command} failed ({code}): {said}"
    return Unavailable(words) if OF_A_COMMAND.search(said.rpartition("\n")[2]) else SandboxError(words)


def may_work_later(error: Exception) -> bool:
    """Whether it is worth a few more tries, though it may be the task's own fault."""
    return isinstance(error, Refusal) and error.status >= 500
