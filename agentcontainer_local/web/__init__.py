"""The pages at `/` and `/docs`."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agentcontainer_local.web import docs
from agentcontainer_local.web.parts import STATIC, Part, Parts

__all__ = ["POLICY", "STATIC", "routes"]

# Trusted types: the browser itself refuses innerHTML and its like, should a line of ours ever try.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "vary": "accept-encoding",
}
ASK_AGAIN = "no-cache"
KEEP = "public, max-age=31536000, immutable"


def routes(document: Callable[[], dict[str, Any]]) -> list[BaseRoute]:
    """`/` and its files, and `/docs`, which shows what `document` answers: the OpenAPI document.

    Each is read or made when it is first asked for, and kept: the server's start waits for none.
    """
    parts = Parts(document=lambda folder: docs.page(document(), folder))

    def answer(request: Request, part: Part | None, caching: str) -> Response:
        if part is None:
            return Response("No such file.", 404, {**HEADERS, "cache-control": ASK_AGAIN})
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {**HEADERS, "cache-control": caching, "content-type": part.type, "etag": part.etag(packed)}
        known = request.headers.get("if-none-match", "").split(",")
        if headers["etag"] in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=304, headers=headers)
        if packed:
            return Response(part.packed, headers={**headers, "content-encoding": "gzip"})
        return Response(part.content, headers=headers)

    async def start(request: Request) -> Response:
        return answer(request, parts.start, ASK_AGAIN)

    async def reference(request: Request) -> Response:
        return answer(request, parts.reference, ASK_AGAIN)

    async def file(request: Request) -> Response:
        name, folder = request.path_params["name"], f"{parts.digest}/"
        if name.startswith(folder):
            return answer(request, parts.file(name.removeprefix(folder)), KEEP)
        return answer(request, parts.file(name), ASK_AGAIN)

    return [Route("/", start), Route("/docs", reference), Route("/web/{name:path}", file)]
