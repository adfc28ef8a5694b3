"""The answer to one request, which can be ended in order when the store is replaced."""

from starlette.types import Message, Send


class Answer:
    """What was sent of an answer, so that one that is cut can be ended in order."""

    def __init__(self, send: Send):
        self._send = send
        self._begun = self._ended = False

    async def __call__(self, message: Message) -> None:
        self._begun = True
        self._ended = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def cut(self) -> None:
        if not self._begun:
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await self._send({"type": "http.response.start", "status": 503, "headers": headers})
        if not self._ended:
            await self._send({"type": "http.response.body", "body": b""})
