"""Request bodies and answers at the door, with errors in the API's format."""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from agentcontainer_local.errors import Problem, TooLarge, Unavailable
from agentcontainer_local.guest.door import Door
from agentcontainer_local.store.db import is_damage

log = logging.getLogger(__name__)


Handler = Callable[[Request, Door], Awaitable[dict[str, Any]]]


def answering(handler: Handler) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answered(request: Request) -> JSONResponse:
        try:
            return JSONResponse(await handler(request, request.scope["door"]))
        except Problem as problem:
            return JSONResponse(problem.body(), problem.status)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError) and not is_damage(error):
                raise
            log.exception("a guest's request could not be stored task=%s", request.scope["door"].task_id)
            unavailable = Unavailable("The store can't be written at the moment. Try again.")
            return JSONResponse(unavailable.body(), unavailable.status)
        except ClientDisconnect:
            return JSONResponse({}, 400)

    return answered


async def body_of(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"More than {max_bytes} bytes at once are refused.")
    return bytes(body)
