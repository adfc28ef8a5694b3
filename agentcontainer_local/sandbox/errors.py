"""Errors of a sandbox. Each message says what to do.

The class decides what happens to the task. `Unavailable` is a fault of the machine: the task waits and is tried again.
A Refusal with a status below 500, and every other error here, is the task's own fault: the task fails at once. A
Refusal with status 500 can be either, because Podman's message does not always tell: the task is tried a few times, and
then fails.
"""

import re

# Messages of Podman, and of the runtimes and file systems below it, for faults that no task can cause or fix.
_MACHINE = (
    "no space left on device", "disk quota exceeded", "read-only file system", "input/output error",
    "too many open files", "cannot allocate memory", "resource temporarily unavailable", "out of memory",
    "database is locked", "exceeded num_locks", "opening seccomp profile failed", "pause process", "newuidmap",
    "newgidmap", "cannot re-exec process", "no subuid ranges", r"\bconmon\b", "slirp4netns failed", "pasta failed",
    "sd-bus", "dbus:", "transient unit", r"\bcgroups?\b",
)  # fmt: skip
# These are the machine's fault for a container, but not for a pull: there the task named the registry.
_CONNECTIONS = ("connection reset by peer", "connection refused", "broken pipe", "i/o timeout")
OF_A_CONTAINER = re.compile("|".join((*_MACHINE, *_CONNECTIONS)), re.IGNORECASE)
OF_A_COMMAND = re.compile("|".join(_MACHINE), re.IGNORECASE)
GONE = "no such file or directory"


class SandboxError(RuntimeError):
    """Podman failed to do what it was asked."""


class ImageMissing(SandboxError):
    """The image is not in this account's storage."""


class Unavailable(SandboxError):
    """This machine can't do it at the moment. It says nothing about what was asked."""


class Unwalled(SandboxError):
    """A container was not started, because its network or its runtime does not isolate it as required."""


class Refusal(SandboxError):
    """Podman answered with an error."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def refused(said: str, status: int, runtime_dirs: tuple[str, ...]) -> SandboxError:
    """The error for Podman's answer. `runtime_dirs`: a missing file in one of these is not the task's fault."""
    words = f"Podman: {said}"
    gone = GONE in said.lower() and any(directory in said for directory in runtime_dirs)
    if status >= 500 and (gone or OF_A_CONTAINER.search(said)):
        return Unavailable(words)
    return Refusal(words, status)


def failed(command: str, code: int, said: str) -> SandboxError:
    """The error for a podman command that failed. A failed pull is the image's fault, unless the message names a fault
    of the machine."""
    words = f"podman {command} failed ({code}): {said}"
    return Unavailable(words) if OF_A_COMMAND.search(said.rpartition("\n")[2]) else SandboxError(words)


def may_work_later(error: Exception) -> bool:
    """Whether a few more tries are worthwhile, though it may be the task's own fault."""
    return isinstance(error, Refusal) and error.status >= 500
