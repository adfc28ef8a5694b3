"""What an operation raises: the server's refusal, or that there was no server to be heard."""

import json

from agentcontainer_local.client.effects import Answer


class ClientError(Exception):
    """Whatever this client raises."""


class NotReachable(ClientError):
    """No server answered, however often it was tried."""


class TimedOut(ClientError):
    """What was waited for did not happen in the time given."""


class Misunderstood(ClientError):
    """The answer is not in the shape that this version of the client knows."""


class Changed(ClientError):
    """A file was not the same at the end of its transfer as at the beginning."""


class Refused(ClientError):
    """The server's answer is an error: `status`, its `code`, its `message`, and at a 422 the `fields` at fault."""

    def __init__(self, status: int, code: str, message: str, fields: list[dict] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields or []


def refusal(answer: Answer) -> Refused:
    """An answer in the API's error shape, or whatever a proxy between said instead."""
    try:
        error = json.loads(answer.body)["error"]
        return Refused(answer.status, str(error["code"]), str(error["message"]), error.get("fields"))
    except (ValueError, KeyError, TypeError, AttributeError):
        said = answer.body[:200].decode(errors="replace").strip()
        return Refused(answer.status, "unknown", f"The server answered {answer.status}: {said}")
