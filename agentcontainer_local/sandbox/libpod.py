"""Calls of Podman's REST API, in threads, told apart by whether they may be repeated."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from podman.api.client import APIClient
from podman.errors import APIError

from agentcontainer_local.sandbox.errors import Refusal, Unavailable
from agentcontainer_local.sandbox.process import to_the_end
from agentcontainer_local.sandbox.service import Service, listener

SECONDS = 120


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


class Libpod:
    """podman-py's raw layer: its own calls drop create's warnings, and some options, in silence."""

    def __init__(self, service: Service):
        self.service = service
        # More at once are not faster: a start takes 41-44 ms of two cores whatever else is under way.
        self._brisk = ThreadPoolExecutor(2 * (os.cpu_count() or 1), "podman")
        self._patient = ThreadPoolExecutor(64, "podman-patient")
        self._client = APIClient(f"http+unix://{quote(str(service.socket), safe='')}", max_pool_size=80)

    async def call(
        self, method: str, path: str, *, params: dict | None = None, body: dict | None = None,
        expect: tuple[int, ...] = (), again: bool = True, patient: bool = False, seconds: float = SECONDS,
    ) -> Answer:
        """One request. A status of 400 or more is a Refusal unless it is in `expect`.

        `again=False`: not repeated once Podman may have seen it; then no answer is Unavailable.
        """
        for last in (False, True):
            await self.service.up()
            try:
                request = self._request(method, path, params, body, seconds, patient)
                return _checked(await to_the_end(request), expect)
            except (requests.RequestException, APIError) as error:
                await self.service.recover(hung=isinstance(error, requests.Timeout) and not await self._pings())
                unseen = isinstance(error, APIError)  # the connection could not even be made
                if last or not (again or unseen):
                    raise Unavailable(f"Podman did not answer {method} {path}: {error}") from error
        raise AssertionError("the second attempt returns or raises")

    def close(self) -> None:
        self._client.close()
        self._brisk.shutdown(wait=False)
        self._patient.shutdown(wait=False)

    async def _pings(self) -> bool:
        try:
            await to_the_end(self._request("GET", "/_ping", None, None, 5, True))
        except (requests.RequestException, APIError):
            return False
        return True

    def _request(self, method, path, params, body, seconds, patient) -> asyncio.Future[requests.Response]:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data else None
        extra = {"data": data} if data else {}

        def send() -> requests.Response:
            if listener(self.service.socket) is None:  # podman-py leaks the socket of a connection that fails
                raise APIError("nobody listens")
            return getattr(self._client, method.lower())(path, params=params, headers=headers, timeout=seconds, **extra)

        return asyncio.get_running_loop().run_in_executor(self._patient if patient else self._brisk, send)


def _checked(response: requests.Response, expect: tuple[int, ...]) -> Answer:
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = response.text
    if response.status_code >= 400 and response.status_code not in expect:
        said = body.get("message") if isinstance(body, dict) else body
        raise Refusal(f"Podman: {said or response.status_code}", response.status_code)
    return Answer(response.status_code, body)
