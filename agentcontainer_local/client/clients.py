"""The two clients: the same programs, run by blocking or by awaiting, over the same HTTP library."""

import asyncio
import contextlib
import functools
import os
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpx

from agentcontainer_local import __version__
from agentcontainer_local.client import operations
from agentcontainer_local.client.effects import (
    Answer,
    Effect,
    Emit,
    Open,
    Pause,
    Program,
    Read,
    Request,
    Retries,
    Send,
    Unreachable,
    Work,
)
from agentcontainer_local.client.errors import ClientError, NoKey, NotTrusted, WrongUse, local
from agentcontainer_local.environment import API_KEY, URL
from agentcontainer_local.process.loopback import is_here

DEFAULT_URL = "http://127.0.0.1:3000"
PREFIX = "/api/v1"
PIECE = 256 * 1024
CONNECT_SECONDS = 10.0


class _Settings:
    """What both clients are made with."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retries: int = 6,
        timeout: float = 60.0,
        transport: Any = None,
    ):
        """`url` and `api_key`: by default AGENTCONTAINER_URL and AGENTCONTAINER_API_KEY of the environment.

        `retries`: how often a request is repeated after no answer, 429 or 503 (6: over some 12 seconds). A POST carries
        an Idempotency-Key, so that it has its effect once. `timeout`: seconds of silence.
        """
        self.url = address(url or os.environ.get(URL) or DEFAULT_URL)
        self.retries = retries
        self._timeout = timeout
        self._headers = {"accept-encoding": "identity", "user-agent": f"agentcontainer-python/{__version__}"}
        self._key = _checked_key(os.environ.get(API_KEY, "") if api_key is None else api_key)
        proxied = not is_here(urlsplit(self.url).hostname or "")
        self._options = {"transport": transport, "trust_env": proxied, "follow_redirects": False}

    @property
    def _verified(self) -> dict[str, Any]:
        """Certificates are checked against SSL_CERT_FILE or SSL_CERT_DIR, else this system's; also on loopback."""
        if not self.url.startswith("https:"):
            return self._options
        context = ssl.create_default_context()
        if not (context.get_ca_certs() or os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
            context.load_verify_locations(certifi.where())
        return {**self._options, "verify": context}

    def _made(self, request: Request, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        if http.is_closed:
            raise WrongUse("This client is closed. Make a new one.")
        ours = request.url.startswith("/")
        headers = {**self._headers, **request.headers}
        if ours:
            headers["authorization"] = f"Bearer {self._key}"
        body: dict[str, Any] = {}
        if request.content is not None:
            headers["content-length"] = str(request.content.size)
            chunks = request.content.chunks()
            body = {"content": chunks if isinstance(http, httpx.Client) else _threaded(chunks)}
        elif request.body is not None:
            body = {"json": request.body}
        timeout = httpx.Timeout(request.read_seconds or self._timeout, connect=CONNECT_SECONDS)
        url = self.url + PREFIX + request.url if ours else request.url
        try:
            return http.build_request(
                request.method, url, params=request.query or None, headers=headers, timeout=timeout, **body
            )
        except UnicodeError:
            raise WrongUse("The request contains bytes that are not UTF-8 text.") from None


def address(url: str) -> str:
    """Without /api/v1, with which some write it. Raises WrongUse."""
    url = url.strip().rstrip("/").removesuffix(PREFIX).rstrip("/")
    if not re.fullmatch(r"https?://[!-~]+", url) or not _names_a_host(url):
        raise WrongUse(
            f"{url!a} is not the URL of a server. It begins with http:// or https://, for example {DEFAULT_URL}."
        )
    return url


def _names_a_host(url: str) -> bool:
    """A part of a name that is empty or longer than 63 bytes is a UnicodeError to a socket, and no TransportError."""
    try:
        return bool((urlsplit(url).hostname or "").encode("idna"))
    except ValueError:
        return False


def _checked_key(given: str) -> str:
    """Without the spaces and line ending that files and secret stores leave. The key is in no error."""
    key = given.strip()
    if not key:
        raise NoKey(f"There is no API key. Set {API_KEY}, or pass api_key.")
    if not re.fullmatch("[!-~]+", key):
        raise NoKey("The API key contains a space or a non-ASCII character. Copy it again.")
    return key


async def _threaded(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


HTTP_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)


def _lost(error: Exception) -> Exception:
    if not isinstance(error, httpx.TransportError) or isinstance(
        error, httpx.LocalProtocolError | httpx.UnsupportedProtocol
    ):
        return ClientError("The request could not be sent. Its address or a header is not valid in HTTP.")
    at = error.request.url
    where = f"{at.scheme}://{at.netloc.decode()}"
    if (fault := _of_tls(error)) is not None:
        return _untrusted(where, fault)
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Unreachable(f"{where} ({str(error) or type(error).__name__})", sent)


NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")


def _of_tls(error: BaseException | None) -> ssl.SSLError | None:
    """What no further attempt would change. A connection that was cut while it used TLS is only a lost one."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error if isinstance(error, ssl.SSLCertVerificationError) or getattr(error, "reason", "") in NO_TLS else None


def _untrusted(where: str, fault: ssl.SSLError) -> NotTrusted:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return NotTrusted(
            f"The certificate of {where} is not trusted: {fault.verify_message}. If it is your own, set"
            " SSL_CERT_FILE to the file of its certificate authority."
        )
    return NotTrusted(f"{where} does not speak TLS correctly ({fault.reason}). Does its address begin with http://?")


def _worked(function: Callable[[], Any]) -> Any:
    """What it does to local files may fail."""
    try:
        return function()
    except ClientError:
        raise
    except OSError as error:
        raise local(error) from error


def _answer(response: httpx.Response, body: bytes = b"") -> Answer:
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


@operations.blocking
class Client(operations.Operations, _Settings):
    """The API of an AgentContainer server. Each call waits for its answer.

        with Client() as client:                    # AGENTCONTAINER_URL, AGENTCONTAINER_API_KEY
            done = client.run("Add up the numbers.", inputs=["numbers.csv"], output="out", model="scripted")
            print(done.result, done.paths)

    Use it as a context manager, or close it. Threads may share it. Every exception is a ClientError.
    """

    @functools.cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self._verified)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _run(self, program: Program[Any]) -> Any:
        """A program's value."""
        play = self._play(program)
        while True:
            try:
                next(play)
            except StopIteration as end:
                return end.value

    def _iterate(self, program: Program[Any]) -> Iterator[Any]:
        """What a program emits."""
        with contextlib.closing(self._play(program)) as play:
            yield from play

    def _play(self, program: Program[Any]) -> Generator[Any, None, Any]:
        with contextlib.closing(program), contextlib.closing(_Opened(self)) as opened:
            step, given = program.send, None
            while True:
                try:
                    effect = step(given)
                except StopIteration as end:
                    return end.value
                if isinstance(effect, Emit):
                    yield effect.value
                    step, given = program.send, None
                    continue
                try:
                    step, given = program.send, self._done(effect, opened)
                except HTTP_ERRORS as error:
                    step, given = program.throw, _lost(error)
                except Exception as error:
                    step, given = program.throw, error

    def _done(self, effect: Effect, opened: "_Opened") -> Any:
        match effect:
            case Send(request):
                response = self._http.send(self._made(request, self._http))
                return _answer(response, response.content)
            case Open(request):
                return opened.open(request)
            case Read():
                return opened.read()
            case Pause(seconds):
                return time.sleep(seconds)
            case Work(function):
                return _worked(function)
            case Retries():
                return self.retries
        raise TypeError(f"not an effect: {effect!r}")


class _Opened:
    """The one answer of a program that is being read."""

    def __init__(self, client: Client):
        self._client = client
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def open(self, request: Request) -> Answer:
        self.close()
        http = self._client._http
        self._response = http.send(self._client._made(request, http), stream=True)
        if not self._response.is_success:
            return _answer(self._response, self._response.read())
        self._pieces = self._response.iter_raw(None if request.read_seconds else PIECE)
        return _answer(self._response)

    def read(self) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None


@operations.awaiting
class AsyncClient(operations.Operations, _Settings):
    """The same for asyncio: `await client.get_task(id)`, `async for task in client.list_tasks()`."""

    @functools.cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._verified)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def _run(self, program: Program[Any]) -> Any:
        """A program's value."""
        returned: list[Any] = []
        async with contextlib.aclosing(self._play(program, returned)) as play:
            async for _ in play:
                pass
        return returned[0]

    async def _iterate(self, program: Program[Any]) -> AsyncIterator[Any]:
        """What a program emits."""
        async with contextlib.aclosing(self._play(program, [])) as play:
            async for value in play:
                yield value

    async def _play(self, program: Program[Any], returned: list[Any]) -> AsyncGenerator[Any, None]:
        async with contextlib.aclosing(_AsyncOpened(self)) as opened:
            with contextlib.closing(program):
                step, given = program.send, None
                while True:
                    try:
                        effect = step(given)
                    except StopIteration as end:
                        returned.append(end.value)
                        return
                    if isinstance(effect, Emit):
                        yield effect.value
                        step, given = program.send, None
                        continue
                    try:
                        step, given = program.send, await self._done(effect, opened)
                    except HTTP_ERRORS as error:
                        step, given = program.throw, _lost(error)
                    except Exception as error:
                        step, given = program.throw, error

    async def _done(self, effect: Effect, opened: "_AsyncOpened") -> Any:
        match effect:
            case Send(request):
                response = await self._http.send(self._made(request, self._http))
                return _answer(response, response.content)
            case Open(request):
                return await opened.open(request)
            case Read():
                return await opened.read()
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(_worked, function)
            case Retries():
                return self.retries
        raise TypeError(f"not an effect: {effect!r}")


class _AsyncOpened:
    def __init__(self, client: AsyncClient):
        self._client = client
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def open(self, request: Request) -> Answer:
        await self.aclose()
        http = self._client._http
        self._response = await http.send(self._client._made(request, http), stream=True)
        if not self._response.is_success:
            return _answer(self._response, await self._response.aread())
        self._pieces = self._response.aiter_raw(None if request.read_seconds else PIECE)
        return _answer(self._response)

    async def read(self) -> bytes:
        return await anext(self._pieces, b"") if self._pieces else b""

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
        self._response = None
