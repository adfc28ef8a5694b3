"""Calls of Podman's REST API, in threads, told apart by whether they may be repeated."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlparse

import requests
from podman.api.client import APIClient
from podman.api.uds import UDSConnection, UDSConnectionPool
from podman.errors import APIError

from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.sandbox.errors import Unavailable, refused
from agentcontainer_local.sandbox.podman.service import Service

SECONDS = 120
SLOW_SECONDS = 5  # then a call no longer keeps others waiting, and the service is asked whether it lives
# A service that was killed seems to listen until the kernel has taken it down: what nobody heard is repeated till
# then. What may have been heard is repeated once, and only where that is harmless.
ATTEMPTS = 5
NO_ANSWER = (requests.RequestException, APIError)


class _NobodyListens(Exception):
    """The request did not leave this process."""


class _Connection(UDSConnection):
    """podman-py's own leaks the socket of a connection that fails, and hides that it was never made."""

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(self.timeout)
        try:
            made.connect(unquote(urlparse(self.uds).netloc))
        except OSError as error:
            made.close()
            raise _NobodyListens(str(error)) from error
        self.sock = made


class _Pool(UDSConnectionPool):
    ConnectionCls = _Connection


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


Params = dict[str, Any] | None


class Libpod:
    """podman-py's raw layer: its own calls drop create's warnings, and some options, in silence."""

    def __init__(self, service: Service):
        self.service = service
        # More at once are not faster: a start takes 41-44 ms of two cores whatever else is under way.
        self._turns = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._threads = ThreadPoolExecutor(128, "podman")
        self._client = APIClient(f"http+unix://{quote(str(service.socket), safe='')}", max_pool_size=128)
        adapter: Any = self._client.get_adapter("http://")  # requests calls it a BaseAdapter; it is an HTTPAdapter
        adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool}

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
            except (_NobodyListens, *NO_ANSWER) as error:
                heard = not isinstance(error, _NobodyListens)
                broken += heard
                late = isinstance(error.__cause__, requests.Timeout)  # podman-py wraps every OSError
                await self.service.recover(hung=asked if late and not await self._pings() else 0)
                if attempt == ATTEMPTS or heard and (broken > 1 or not again):
                    raise Unavailable(f"Podman did not answer {method} {path}: {error.__cause__ or error}") from error
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._client.close()
        self._threads.shutdown(wait=False)

    async def _answer(
        self, method: str, path: str, params: Params, body: Params, seconds: float, patient: bool
    ) -> requests.Response:
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

    async def _replaced_if_hung(self, request: asyncio.Future[requests.Response]) -> None:
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
        except (_NobodyListens, *NO_ANSWER):
            return False
        return True

    def _request(
        self, method: str, path: str, params: Params, body: Params, seconds: float
    ) -> asyncio.Future[requests.Response]:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data else None
        extra = {"data": data} if data else {}
        send = getattr(self._client, method.lower())
        return asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: send(path, params=params, headers=headers, timeout=seconds, **extra),
        )

    def _checked(self, response: requests.Response, expect: tuple[int, ...]) -> Answer:
        try:
            body = response.json() if response.content else None
        except ValueError:
            body = response.text
        if response.status_code >= 400 and response.status_code not in expect:
            said = str((body.get("message") if isinstance(body, dict) else body) or response.status_code)
            if 404 in expect and "no such container" in said:  # removed while Podman looked at it: it answers 500
                return Answer(404, body)
            raise refused(said, response.status_code, self.service.runtime_dirs)
        return Answer(response.status_code, body)
