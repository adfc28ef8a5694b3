"""Handles a model call at the door, from the request to its answer."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace

from starlette.types import Message, Receive, Scope, Send

from agentcontainer_local.gateway import refusal, scripted, worst_case
from agentcontainer_local.gateway.admission import CLOSED, Call, Gone, admitted
from agentcontainer_local.gateway.failure import shown
from agentcontainer_local.gateway.forward import Forwarded, forward
from agentcontainer_local.gateway.grant import Grant, Progress
from agentcontainer_local.gateway.provider_session import Client
from agentcontainer_local.gateway.refusal import Refusal, forbidden
from agentcontainer_local.store.tasks import Refused


async def handle(grant: Grant | None, client: Client, scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI handler that always answers. `grant`: what the task may call; None: nothing, so the answer is 403."""
    if grant is None:
        await refusal.answer(forbidden(CLOSED), send)
        return
    if grant.free:
        client = replace(client, prices=client.prices.with_free(grant.free))
    try:
        call = await admitted(grant, client, scope, receive)
        sending = _Sending(send)
        await _while_listening(_answered(grant, client, call, sending), receive, sending, client.idle_seconds)
    except Refusal as reason:
        await refusal.answer(reason, send)
    except Gone:
        return


async def _answered(grant: Grant, client: Client, call: Call, send: Send) -> None:
    if grant.plays(call.model):
        await scripted.play(grant, client, call, send)
    elif call.route.dialect == "count":
        await _passed(Forwarded(grant, client, call, call.raw), send)
    else:
        await _reserved(grant, client, call, send)


async def _reserved(grant: Grant, client: Client, call: Call, send: Send) -> None:
    """Reserves, forwards and settles the call. The usage is always stored, even of a cut call, and before the answer's
    end is sent."""
    await client.rested(grant)
    try:
        worst = await client.aside(grant.known, len(call.raw), worst_case.worst, call, grant, client.prices)
        reserved = await grant.reserve(worst)
    except Refused as reason:
        raise forbidden(str(reason)) from None
    progress = Progress(call.model, shown(grant.base_url), reserved.attempt, client.clock.steady)
    state = Forwarded(grant, client, call, call.raw, worst, reserved, progress)
    grant.working(progress)

    try:
        state.body = await client.aside(
            grant.known, len(call.raw), worst_case.kept_to, call, grant, client.prices, reserved.output_tokens
        )
        await forward(state, send)
    finally:
        grant.working(None)
        usage = state.usage()
        grant.settle(reserved, usage)
        worst_case.learn(call, grant, reserved, state.figures, usage.counts == "told" and not usage.guessed)
    await _ended(state, send)


async def _passed(state: Forwarded, send: Send) -> None:
    await forward(state, send)
    await _ended(state, send)


async def _ended(state: Forwarded, send: Send) -> None:
    """Sends the end of the answer. Without it the server closes the connection, so that the guest notices the cut."""
    if state.whole or (state.failure is not None and state.failure.kind != "passing"):
        await send({"type": "http.response.body", "body": b""})


class _Sending:
    """Measures how long the client has not read what is sent."""

    def __init__(self, send: Send):
        self._send = send
        self._since: float | None = None

    async def __call__(self, message: Message) -> None:
        self._since = time.monotonic()
        await self._send(message)
        self._since = None

    def waits_seconds(self) -> float:
        return 0 if self._since is None else time.monotonic() - self._since


async def _while_listening(
    work: Coroutine[None, None, None], receive: Receive, sending: _Sending, patience: float
) -> None:
    """Does the work, but cancels it, with the call upstream, when the client has disconnected or has not read for
    `patience` seconds (at most twice as long). Otherwise the call's reservation would keep the account's budget from
    other tasks."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(_gone(receive))
    try:
        while not (working.done() or listening.done()) and sending.waits_seconds() < patience:
            await asyncio.wait({working, listening}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not working.done():
            working.cancel()
        listening.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)
    if not working.cancelled():
        working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
