"""How the door takes a body and answers, errors in the API's shape."""

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from agentcontainer_local.errors import Problem, TooLarge
from agentcontainer_local.guest.door import Door


def answering(handler: Callable[[Request, Door], Awaitable[dict]]) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answered(request: Request) -> JSONResponse:
        try:
            return JSONResponse(await handler(request, request.scope["door"]))
        except Problem as problem:
            return JSONResponse(problem.body(), problem.status)
        except ClientDisconnect:
            return JSONResponse({}, 400)

    return answered


async def body_of(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"More than {max_bytes} bytes at once are not taken.")
    return bytes(body)
