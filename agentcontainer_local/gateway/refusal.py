"""Refusals of model calls, in the provider's error format."""

import json

from starlette.types import Send


class Refusal(Exception):
    """A refused call. Pi decides by the status and by words such as "timeout" or "overloaded" whether to retry, so
    choose words with care."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def forbidden(message: str) -> Refusal:
    return Refusal(403, "permission_error", message)


def malformed(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message)


async def answer(refusal: Refusal, send: Send) -> None:
    """Sends the refusal. Anthropic's error format is OpenAI's with a `type` around it, so one body fits both."""
    error = {"type": refusal.kind, "code": refusal.kind, "message": refusal.message}
    await respond(send, refusal.status, json.dumps({"type": "error", "error": error}).encode())


async def respond(send: Send, status: int, body: bytes, content_type: bytes = b"application/json") -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
