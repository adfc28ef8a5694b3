"""One request until it has an answer: repeated where that is harmless, refused in the API's own words."""

import random
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from agentcontainer_local import __version__
from agentcontainer_local.client.effects import Answer, Pause, Program, Request, Retries, Send, Unreachable
from agentcontainer_local.client.errors import Misunderstood, NotReachable, WrongUse, refusal
from agentcontainer_local.schemas import faults

Shape = TypeVar("Shape", bound=BaseModel)

BUSY = (429, 503)
SAFE = ("GET", "HEAD", "PUT", "DELETE", "PATCH")  # a PATCH here sets values, and the same values again are no change
LONGEST_PAUSE_SECONDS = 30.0
KEY = "Idempotency-Key"


def below(*parts: str) -> str:
    """A path of ids that cannot lead elsewhere."""
    try:
        return "".join("/" + quote(part, safe="") for part in parts)
    except UnicodeError:
        raise WrongUse("The id contains bytes that are not UTF-8.") from None


def ask(request: Request) -> Program[Answer]:
    """A good answer; raises Refused or NotReachable. A request without KEY that may have had its effect is not
    repeated, unless its method says that twice is as good as once."""
    retries = yield Retries()
    for attempt in count(1):
        try:
            answer: Answer = yield Send(request)
        except Unreachable as lost:
            if attempt > retries or not (repeatable(request) or not lost.sent):
                raise NotReachable(str(lost)) from lost
            yield Pause(backoff(attempt))
            continue
        if answer.ok:
            return answer
        if answer.status not in BUSY or attempt > retries:
            raise refusal(answer)
        yield Pause(pause_of(answer, attempt))
    raise AssertionError("unreachable")


def repeatable(request: Request) -> bool:
    return request.method in SAFE or KEY in request.headers


def backoff(attempt: int) -> float:
    """0.2 s, doubled each time; between the half and the whole of it, so that many clients do not come at once."""
    return min(LONGEST_PAUSE_SECONDS, 0.2 * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1)


def pause_of(answer: Answer, attempt: int) -> float:
    said = answer.headers.get("retry-after", "")
    return min(float(said), LONGEST_PAUSE_SECONDS) if said.isdecimal() else backoff(attempt)


def get(path: str, answers: type[Shape], **query: Any) -> Program[Shape]:
    answer = yield from ask(Request("GET", path, _asked(query)))
    return _understood(answers, answer)


def send(method: str, path: str, answers: type[Shape], body: Any = None) -> Program[Shape]:
    """Every POST carries an Idempotency-Key of its own, so that it can be repeated."""
    headers = {KEY: secrets.token_urlsafe(18)} if method == "POST" else {}
    answer = yield from ask(Request(method, path, headers=headers, body=body))
    return _understood(answers, answer)


def send_once(method: str, path: str, answers: type[Shape], body: Any = None) -> Program[Shape]:
    """For a POST that the server does not know again by its key."""
    answer = yield from ask(Request(method, path, body=body))
    return _understood(answers, answer)


def _understood(shape: type[Shape], answer: Answer) -> Shape:
    try:
        return shape.model_validate_json(answer.body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the whole"
        raise Misunderstood(
            f"The server's answer is not a {shape.__name__} of version {__version__} ({where}:"
            f" {fault['msg']}). The server has another version, or is not AgentContainer."
        ) from None


def delete(path: str) -> Program[None]:
    yield from ask(Request("DELETE", path))


def _asked(query: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def body_of(shape: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of a request, from its fields by either name (`input_file_ids`, `inputFileIds`).

    Raises WrongUse for a field that the shape does not have, before anything is sent.
    """
    try:
        checked = shape.model_validate(fields, by_name=True, by_alias=True)
        return checked.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError as error:
        found = faults.found(error)
        raise WrongUse("\n".join(_line(fault) for fault in found), found) from None
    except (ValueError, TypeError, RecursionError):  # what Unicode cannot say, or JSON cannot hold
        raise WrongUse(
            "The request cannot be written as JSON: it contains bytes that are not UTF-8, or is nested too deep."
        ) from None


def _line(fault: Mapping[str, str]) -> str:
    return fault["message"] if fault["field"] == faults.WHOLE else f"{fault['field']}: {fault['message']}"
