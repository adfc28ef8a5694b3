"""`--hosted-only`: refuses or marks operations and fields that the hosted service does not have.

It refuses such operations, and such fields in bodies and queries. Answers omit the fields that only this server has,
and an Idempotency-Key has no effect where the hosted service's documents have none.
"""

import logging
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Message, Scope, Send

from agentcontainer_local.errors import Invalid, NotFound
from agentcontainer_local.schemas import extensions

HEADER = "agentcontainer-extensions"
KEY = "idempotency-key"
FOUND = "agentcontainer.extensions"  # key in the scope
log = logging.getLogger(__name__)


class HostedOnly:
    """`is_strict`: refuse; otherwise only mark the answer."""

    def __init__(self, is_strict: bool):
        self.is_strict = is_strict

    def operation(self, request: Request, name: str) -> None:
        if self.is_strict:
            raise NotFound(
                f"{name} is an extension of agentcontainer-local: the hosted service does not have it. Use another"
                " operation, or start the server without --hosted-only.",
                extension=name,
            )
        self._mark(request, [name])

    def fields(self, request: Request, *given: BaseModel | None) -> None:
        found = [field for one in given if one is not None for field in extensions.used(one)]
        if not found:
            return
        if self.is_strict:
            why = "The hosted service does not have this field. Leave it out."
            raise Invalid(
                f"{', '.join(found)}: extension of agentcontainer-local. The hosted service does not have it. Leave it"
                " out, or start the server without --hosted-only.",
                [{"field": field, "message": why} for field in found],
            )
        self._mark(request, found)

    def key(self, request: Request) -> str | None:
        """The Idempotency-Key of an operation for which the key is an extension. None if there is none, or if it is
        ignored."""
        given = request.headers.get(KEY)
        if given is None or self.is_strict:
            return None
        self._mark(request, ["Idempotency-Key"])
        return given

    def left_out(self, answer: type[BaseModel] | None) -> dict[str, Any] | None:
        """The fields to omit from an answer, as pydantic's `exclude`."""
        return extensions.added(answer) if self.is_strict and answer else None

    def marking(self, scope: Scope, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and (found := scope.get(FOUND)):
                header = (HEADER.encode(), ", ".join(found).encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return sent

    def _mark(self, request: Request, found: list[str]) -> None:
        request.scope.setdefault(FOUND, []).extend(found)
        log.warning("not in the hosted service: %s %s: %s", request.method, request.url.path, ", ".join(found))


def of(mode: str) -> HostedOnly | None:
    """`mode`: off, refuse or warn."""
    return None if mode == "off" else HostedOnly(mode == "refuse")
