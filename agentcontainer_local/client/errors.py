"""What a client raises: always a ClientError, whatever went wrong."""

import json
from typing import Any

from agentcontainer_local import schemas
from agentcontainer_local.client.effects import Answer


class ClientError(Exception):
    """The base of every exception that this client raises."""


class WrongUse(ClientError, ValueError, TypeError):
    """The call makes no sense, and nothing was sent. `fields` lists what is wrong with a request's fields."""

    def __init__(self, message: str, fields: list[dict[str, Any]] | None = None):
        super().__init__(message)
        self.fields = fields or []


class NoKey(WrongUse):
    """There is no API key, or it cannot be one."""


class NotReachable(ClientError):
    """No server answered, on any attempt."""


class NotTrusted(ClientError):
    """The server's TLS certificate is not trusted, or the server does not speak TLS."""


class TimedOut(ClientError):
    """The task did not get there in the given time. `task` is the task as it is now."""

    def __init__(self, message: str, task: schemas.Task | None = None):
        super().__init__(message)
        self.task = task


class TaskEnded(ClientError):
    """`run`: the task failed, was cancelled or expired. `task` is the task."""

    def __init__(self, message: str, task: schemas.Task):
        super().__init__(message)
        self.task = task


class Misunderstood(ClientError):
    """The answer does not have the shape that this version of the client knows."""


class Changed(ClientError):
    """A file changed during its transfer."""


class LocalFile(ClientError, OSError):
    """A local file or folder cannot be read or written. Has `errno`, `strerror` and `filename`, as every OSError."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}" if self.filename is not None else str(self.strerror)


class Refused(ClientError):
    """The server's answer is an error: its `status`, `code` and `message`; of a 422, the `fields` at fault; and in
    `details` what else the error has, such as `provider`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: list[dict[str, Any]] | None = None,
        details: dict[str, Any] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields or []
        self.details = details or {}


def refusal(answer: Answer) -> Refused:
    """An answer in the API's error shape, or what a proxy on the way said instead."""
    try:
        error = json.loads(answer.body)["error"]
        details = {name: value for name, value in error.items() if name not in ("code", "message", "fields")}
        return Refused(answer.status, str(error["code"]), str(error["message"]), error.get("fields"), details)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = answer.body[:200].decode(errors="replace").strip()
        elsewhere = f" and names another address, {answer.headers['location']}" if "location" in answer.headers else ""
        return Refused(answer.status, "unknown", f"The server answered {answer.status}{elsewhere}: {said}")


def local(error: OSError) -> LocalFile:
    return LocalFile(error.errno, error.strerror or str(error), error.filename)
