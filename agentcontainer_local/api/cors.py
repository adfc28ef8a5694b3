"""Pages of other origins may call the API where the operator names them; without that, no browser lets them."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from agentcontainer_local.http.routing import PREFIX

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SHOWN = ("Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate")


def opened(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """`app`, whose API answers the pages of `origins`. Keys are in headers or URLs: no cookie is ever accepted.

    Any request header may be sent: tracing, caches and replacements of EventSource add some of their own.
    """
    if not origins:
        return app
    shared = CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=("*",),
        expose_headers=SHOWN,
        allow_private_network=True,
    )

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        of_api = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        await (shared if of_api else app)(scope, receive, send)

    return choose
