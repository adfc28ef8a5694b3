"""Calls of Podman's REST API, told apart by whether they may be repeated."""

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

PREFIX = "/v4.0.0/libpod"  # the oldest version of the API that has all that is asked here
SECONDS = 120
SLOW_SECONDS = 5  # then a call no longer keeps others waiting, and the service is asked whether it lives
# A service that was killed seems to listen until the kernel has taken it down: what nobody heard is repeated till
# then. What may have been heard is repeated once, and only where that is harmless.
ATTEMPTS = 5


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


Params = dict[str, Any] | None


class Libpod:
    """Podman's own API: the one that is compatible with Docker's has no warnings of create, and not all options.

    podman-py is not used: its calls drop those warnings, and some options, in silence, and each takes a thread.
    """

    def __init__(self, service: Service):
        self.service = service
        # More at once are not faster: a start takes 41-44 ms of two cores whatever else is under way.
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
        """One request. A status of 400 or more is a Refusal unless it is in `expect`.

        `again=False`: not repeated once Podman may have seen it; then no answer is Unavailable.
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
        """A service that hangs is replaced, which ends the calls that it has not answered."""
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
        """A few at a time; one that takes long gives its turn to the next."""
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
            if 404 in expect and "no such container" in said:  # removed while Podman looked at it: it answers 500
                return Answer(404, body)
            raise refused(said, response.status, self.service.runtime_dirs)
        return Answer(response.status, body)
