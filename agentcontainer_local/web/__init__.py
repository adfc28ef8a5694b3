"""The pages: what a browser is given at `/` and `/docs`, apart from the API that they call."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agentcontainer_local.web import docs

STATIC = Path(__file__).parent / "static"
DOCS = "/docs.html"         # no file has this name
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
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
    "cache-control": "no-cache",
}


def routes(document: Callable[[], dict]) -> list[BaseRoute]:
    """`/` and its files, and `/docs`, which shows what `document` answers: the OpenAPI document.

    Each is read or made when it is first asked for, and kept: the server's start waits for none.
    """
    files = {file.name: file.read_bytes for file in STATIC.iterdir()}

    @cache
    def kept(name: str) -> tuple[bytes, dict[str, str]]:
        content = docs.page(document()).encode() if name == DOCS else files[name]()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return content, {**HEADERS, "etag": etag, "content-type": TYPES[Path(name).suffix]}

    def answer(request: Request, name: str) -> Response:
        content, headers = kept(name)
        known = request.headers.get("if-none-match", "").split(",")
        if headers["etag"] in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    async def start(request: Request) -> Response:
        return answer(request, "index.html")

    async def reference(request: Request) -> Response:
        return answer(request, DOCS)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        return answer(request, name) if name in files else Response("There is no such file.", 404, HEADERS)

    return [Route("/", start), Route("/docs", reference), Route("/web/{name}", file)]
