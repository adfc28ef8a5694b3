"""The whole program, put together by hand."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from agentcontainer_local import egress, gateway, guest, model_access, resource_limits, web
from agentcontainer_local.api import cors, routes
from agentcontainer_local.engine import supervisor, timers
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run import GuestOf
from agentcontainer_local.http import health, metrics, middleware, openapi, routing
from agentcontainer_local.money import from_usd
from agentcontainer_local.pi import bundle
from agentcontainer_local.process import disk_space, failpoints, runtime_directory, tracing
from agentcontainer_local.process.clock import Clock
from agentcontainer_local.sandbox import backends
from agentcontainer_local.sandbox.backend import Backend, Guest
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import (
    accounts,
    agents,
    clock_steps,
    containers,
    db,
    files,
    identity,
    integrity,
    ledger,
    lock,
    tasks,
)
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.ids import RANDOM, Ids
from agentcontainer_local.store.rows import Run
from agentcontainer_local.store.secrets import Vault

log = logging.getLogger(__name__)

OpenBackend = Callable[[Settings, str, tasks.Remembered, Path | None], contextlib.AbstractAsyncContextManager[Backend]]
Grants = Callable[[Host, guest.Door], gateway.Grant]  # what a task may call
OpenGuests = Callable[[Host, gateway.Client, egress.Outside], GuestOf]
SWITCH_SECONDS = 0.001  # a thread lets others go on after so long
DAMAGED_SECONDS = 30  # before tasks are looked after again


@dataclass(frozen=True)
class Program:
    """What `opened` has put together: the host, its HTTP face, and the key that was made at the first start."""

    host: Host
    face: ASGIApp
    guest_of: GuestOf
    new_key: str | None
    say_where: Callable[[str], None]  # tells the owner's other processes the URL, with a key for them


@contextlib.asynccontextmanager
async def opened(
    settings: Settings,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    now: Clock | None = None,
    outside: egress.Outside = egress.INTERNET,
    place: OpenBackend = backends.open,
    upstream: gateway.Wrapped = gateway.as_it_is,
    guests: OpenGuests | None = None,
    durable: bool = True,
    ids: Ids = RANDOM,
) -> AsyncIterator[Program]:
    """Opens everything that one server owns, and closes it again; raises RuntimeError where another one has it.

    `place` opens the backend. `upstream` wraps what asks the model providers. `guests` says what a run's guest reaches.
    A store that is not `durable` may lose commits when the machine loses power.
    `ids` makes the ids and keys of new rows.
    """
    resource_limits.require(settings.isolation, internet_access=False)
    now = now or Clock()
    with lock.held(settings.data) as announce:
        if lock.was_restoring(settings.data):
            raise RuntimeError(
                f"A restore into {settings.data} was interrupted. Run `agentcontainer restore` again,"
                " or remove that directory."
            )
        environ, taped = _recordings(settings, environ)
        mounted = await _runtime(settings, say)
        database = settings.data / "agentcontainer.db"
        with _explained(database):
            store = db.open(database, durable, ids)
        try:
            context = Context(store, Vault.open(settings.data / "secret.key"), settings, environ, now)
            with _explained(database):
                away = clock_steps.resume(store, now.read())
                store_id, new_key = _first_start(context)
            now.jumped = lambda by, set_by: clock_steps.taken(store, by, set_by)
            if durable or settings.backend != backends.SIMULATED:  # else nobody looks for it, nor could it be copied
                identity.claim(store_id, settings.data)
            with _in_spite_of_damage("removing bytes that no row names"):
                files.sweep(store, settings.data / "files")
            with _in_spite_of_damage("settling model calls that were cut"):
                tasks.settle_leftovers(store)
            failpoints.point("server.opening")
            async with (
                tracing.opened(environ) as traces,
                place(settings, store_id, tasks.Remembered(store), mounted) as backend,
                taped(context) as recorded,
                gateway.client(
                    settings.provider_idle_seconds, settings.prices_file, lambda live: upstream(recorded(live)), now
                ) as client,
            ):
                catalog = bundle.catalog(mounted) if mounted else {}
                owners = RANDOM.new_key()
                host = Host(context, backend, store_id, catalog, away, accounts.key_hash(owners))
                host.traces = traces
                host.integrity = integrity.Watch(settings.data)
                store.serve()
                yield Program(
                    host,
                    _asgi_app(host),
                    (guests or guests_of)(host, client, outside),
                    new_key,
                    lambda url: announce(lock.Served(url, owners)),
                )
        finally:
            store.close()


Taped = Callable[[Context], contextlib.AbstractAsyncContextManager[gateway.Wrapped]]


def _recordings(settings: Settings, environ: Mapping[str, str]) -> tuple[Mapping[str, str], Taped]:
    """What model calls go through, and the environment with what stands for keys; loaded only where it is used."""
    if settings.record is None and settings.replay is None:
        return environ, lambda context: contextlib.nullcontext(gateway.as_it_is)
    from agentcontainer_local.gateway import cassettes

    found = cassettes.found(settings)
    return cassettes.with_keys(settings, found, environ), lambda context: cassettes.opened(context, found)


async def _runtime(settings: Settings, say: Callable[[str], None]) -> Path | None:
    """Node, Pi and the guest's programs, where runs are made of them."""
    if settings.backend == backends.SIMULATED:
        return None
    return await asyncio.to_thread(bundle.prepare, settings.cache, say)


def _asgi_app(host: Host) -> ASGIApp:
    """The pages, the API that they call, and what an operator watches, behind one middleware."""
    requests = metrics.Requests()
    pages = [*web.routes(lambda: openapi.document(routes.ALL)), *health.routes(host, requests)]
    router = Router([*pages, *routing.mounted(host, routes.ALL)], redirect_slashes=False, default=routing.unknown)
    open = cors.opened(middleware.protected(router, host.settings, host.now.pace), host.settings.cors_origin)
    return health.Observed(open, requests, host.traces)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What keeps a server from starting."""
    try:
        yield
    except sqlite3.OperationalError as error:
        words = "the disk is full; free some space" if disk_space.is_full(path.parent) else db.why(error)
        raise RuntimeError(f"{path} can't be used: {words}.") from None
    except sqlite3.DatabaseError as error:
        fault = integrity.damaged(path, db.why(error))
        raise RuntimeError(f"{fault.detail}. {fault.fix}") from None


@contextlib.contextmanager
def _in_spite_of_damage(what: str) -> Iterator[None]:
    """A damaged page must not keep the server from serving what can be read."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not db.is_damage(error):
            raise
        log.error("skipped because the database is damaged: %s: %s", what, error)


def _first_start(context: Context) -> tuple[str, str | None]:
    """The store's id, and its first API key in clear if it was made just now."""
    store, settings, now = context.db, context.settings, context.now()
    with store.atomic():
        if db.row(store, "SELECT id FROM store") is None:
            store.conn.execute("INSERT INTO store VALUES (?, ?)", (store.ids.new("str"), db.iso(now)))
        accounts.check_environment(context.environ)
        account, new_key = accounts.ensure(context)
        if new_key and settings.credit:
            ledger.grant(store, account["id"], from_usd(settings.credit), now)
        containers.ensure_standard(store, now)
        agents.ensure_standard(store, now)
        return db.single(store, "SELECT id FROM store")["id"], new_key


def guests_of(
    host: Host,
    client: gateway.Client,
    outside: egress.Outside,
    grants: Grants = model_access.grant,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> GuestOf:
    """What each run's guest reaches: guest API and gateway on its door, and its way out beside it.

    `grants` says what each model call may use; `around` is a middleware for all requests on the door.
    """

    async def model_calls(scope: Scope, receive: Receive, send: Send) -> None:
        await model_access.until_at_work(host, scope["door"])
        await gateway.handle(grants(host, scope["door"]), client, scope, receive, send)

    app = around(Router([*guest.ROUTES, Mount("/", model_calls)]))

    @contextlib.asynccontextmanager
    async def guest_of(run: Run) -> AsyncIterator[Guest]:
        task = tasks.get(host.db, run["task_id"])
        door = guest.Door(host, task["id"], run["id"], model_access.known(host, task["id"]))
        async with guest.opened(door, app) as bound, egress.opened(host, task, outside) as handler:
            yield Guest(bound, handler)

    return guest_of


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The signals are ours: uvicorn would raise SIGTERM again after serving, and end us before we clean up."""
        yield


def http_server(
    face: ASGIApp, settings: Settings, connection: type[middleware.Connection] = middleware.Connection
) -> uvicorn.Server:
    """Answers requests with `face`, on the sockets that its `serve` gets."""
    return _Server(
        uvicorn.Config(
            face,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
            http=connection,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
        )
    )


def prepare_process() -> None:
    """So that neither a thread that works on a large request nor a collection of garbage holds up the event loop."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is here already stays: it is not looked through again and again


async def serve(
    settings: Settings,
    environ: Mapping[str, str],
    announce: Callable[[Program, str], None],
    outside: egress.Outside = egress.INTERNET,
) -> None:
    """Serves until SIGTERM, which leaves runs to the next server, or SIGINT, which suspends them first.

    `announce` is called once, with the URL of the listener, when requests are answered.
    """
    async with opened(settings, environ, log.info, outside=outside) as program:
        if danger := runtime_directory.removed_at_logout():
            log.warning(danger)
        prepare_process()
        stop = _on_signals()
        listeners = _listening(settings)
        server = http_server(program.face, settings)
        timing = asyncio.create_task(timers.run(program.host), name="timers")
        serving = asyncio.create_task(server.serve(sockets=listeners))
        supervising = asyncio.create_task(supervised(program))
        looking = asyncio.create_task(_say_what_is_damaged(program.host))
        try:
            host, port = listeners[0].getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            program.say_where(url)
            announce(program, url)
            db.lengthen_log(program.host.db)
            await gateway.load()
            ends: set[asyncio.Future[Any]] = {stop, serving, supervising, timing}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                await _tidied(program.host, supervising, serving)
        finally:
            failpoints.point("server.ending")
            server.should_exit = True
            timing.cancel()
            supervising.cancel()
            looking.cancel()
            results = await asyncio.gather(serving, supervising, timing, return_exceptions=True)
        for failure in results:
            if isinstance(failure, Exception):
                raise failure
        if stop.done() and stop.result() == signal.SIGINT:
            await supervisor.suspend(program.host)


async def supervised(program: Program) -> None:
    """Starts and ends runs until cancelled. A damaged page ends no other task, and not the server."""
    while True:
        try:
            return await supervisor.supervise(program.host, program.guest_of)
        except sqlite3.DatabaseError as error:
            if not db.is_damage(error) and not db.is_busy(error):
                raise
            log.error("tasks are not supervised until the database works again: %s", db.why(error))
            await asyncio.sleep(DAMAGED_SECONDS if db.is_damage(error) else 1)


async def _say_what_is_damaged(host: Host) -> None:
    for fault in [] if host.integrity is None else await host.integrity.faults(patience=3600):
        log.error("%s. %s", fault.detail, fault.fix)


async def _tidied(host: Host, *while_alive: asyncio.Task[None]) -> None:
    """What has ended is cleared away first, as long as those who do it are alive."""
    tidying = asyncio.create_task(supervisor.tidy(host))
    try:
        await asyncio.wait({tidying, *while_alive}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)


def _on_signals() -> asyncio.Future[int]:
    """Done with the first signal; the second SIGINT ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = loop.create_future()

    def received(number: int) -> None:
        if stop.done():
            os._exit(130)
        stop.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received, number)
    return stop


def _listening(settings: Settings) -> list[socket.socket]:
    """`::` is every address of both families, each on its own socket: on one, IPv4 clients would look like IPv6."""
    try:
        first = _bound(settings.host, settings.port)
        if not _is_every_ipv6(settings.host):
            return [first]
        try:
            return [first, _bound("0.0.0.0", first.getsockname()[1])]
        except OSError:
            first.close()
            raise
    except OSError as error:
        raise RuntimeError(_not_listening(settings, error)) from None


def _not_listening(settings: Settings, error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "Stop the program that uses the port, or choose another one: --port 3001, or --port 0 for any"
        " free one.",
        errno.EACCES: "Ports below 1024 are for root. Choose a higher one with --port.",
        errno.EADDRNOTAVAIL: "Choose an address of this machine with --host.",
    }
    message = f"Can't listen on {settings.host} port {settings.port}: {error.strerror}."
    return f"{message} {remedies.get(error.errno or 0, 'Choose another address with --host and --port.')}"


def _is_every_ipv6(host: str) -> bool:
    """However it is spelled."""
    try:
        return socket.inet_pton(socket.AF_INET6, host) == bytes(16)
    except OSError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)
