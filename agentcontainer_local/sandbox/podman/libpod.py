"""Calls of Podman's REST API, and rules for repeating them."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.sandbox.errors import Unavailable, refused
from agentcontainer_local.sandbox.podman import unix_http
from agentcontainer_local.sandbox.podman.service import Service
from agentcontainer_local.sandbox.podman.unix_http import NoAnswer, NobodyListens, Response

PREFIX = "/v4.0.0/libpod"  # the oldest API version that has everything used here
SECONDS = 120
SLOW_SECONDS = 5  # after this, a call frees its slot for others, and a ping checks whether the service is alive
# For a moment, a killed service seems to listen. A request that it did not receive is repeated until a new service
# answers. A request that it may have received is repeated once, and only if that is harmless.
ATTEMPTS = 5


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


Params = dict[str, Any] | None


class Libpod:
    """Podman's own API. The Docker-compatible API lacks the warnings of create, and some options.

    podman-py is not used: it silently drops those warnings and some options, and each of its calls needs a thread.
    """

    def __init__(self, service: Service):
        self.service = service
        # More concurrent calls are not faster: each start takes 41-44 ms on two cores.
        self._turns = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        expect: tuple[int, ...] = (),
        again: bool = True,
        patient: bool = False,
        seconds: float = SECONDS,
    ) -> Answer:
        """Makes one request. Raises Refusal for a status of 400 or more that is not in `expect`.

        `again=False`: do not repeat a request that Podman may have received. Raises Unavailable if there is no answer.
        """
        broken = 0
        for attempt in range(1, ATTEMPTS + 1):
            await self.service.up()
            asked = self.service.started
            try:
                return self._checked(await self._answer(method, path, params, body, seconds, patient), expect)
            except (NobodyListens, NoAnswer) as error:
                heard = isinstance(error, NoAnswer)
                broken += heard
                late = isinstance(error.__cause__, TimeoutError)
                await self.service.recover(hung=asked if late and not await self._pings() else 0)
                if attempt == ATTEMPTS or heard and (broken > 1 or not again):
                    raise Unavailable(f"Podman did not answer {method} {path}: {error}") from error
        raise AssertionError("the last attempt returns or raises")

    async def _answer(
        self, method: str, path: str, params: Params, body: Params, seconds: float, patient: bool
    ) -> Response:
        """Waits for the answer. Replaces a service that hangs, which fails its open calls."""
        async with self._turn() if not patient else contextlib.nullcontext():
            request = self._request(method, path, params, body, seconds)
            watching = asyncio.create_task(self._replaced_if_hung(request))
            try:
                return await to_the_end(request)
            finally:
                watching.cancel()
                await asyncio.wait({watching})

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Limits the concurrent calls. A slow call stops counting after SLOW_SECONDS."""
        await self._turns.acquire()
        slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._turns.release)
        try:
            yield
        finally:
            if slow.when() > asyncio.get_running_loop().time():
                slow.cancel()
                self._turns.release()

    async def _replaced_if_hung(self, request: asyncio.Future[Response]) -> None:
        asked = self.service.started
        while True:
            await asyncio.wait({request}, timeout=SLOW_SECONDS)
            if request.done():
                return
            if not await self._pings():
                with contextlib.suppress(Unavailable):
                    await self.service.recover(hung=asked)
                return

    async def _pings(self) -> bool:
        try:
            await self._request("GET", "/_ping", None, None, SLOW_SECONDS)
        except (NobodyListens, NoAnswer):
            return False
        return True

    def _request(
        self, method: str, path: str, params: Params, body: Params, seconds: float
    ) -> asyncio.Future[Response]:
        target = PREFIX + path + (f"?{urlencode(params)}" if params else "")
        data = None if body is None else json.dumps(body).encode()
        return asyncio.ensure_future(unix_http.request(self.service.socket, method, target, data, seconds))

    def _checked(self, response: Response, expect: tuple[int, ...]) -> Answer:
        try:
            body = json.loads(response.body) if response.body else None
        except ValueError:
            body = response.body.decode(errors="replace")
        if response.status >= 400 and response.status not in expect:
            said = str((body.get("message") if isinstance(body, dict) else body) or response.status)
            # a container was removed while Podman inspected it; Podman answers 500
            if 404 in expect and "no such container" in said:
                return Answer(404, body)
            raise refused(said, response.status, self.service.runtime_dirs)
        return Answer(response.status, body)
