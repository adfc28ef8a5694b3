"""From a request on the door to its answer."""

import asyncio
from collections.abc import Coroutine

from agentcontainer_local.gateway import refusal, scripted
from agentcontainer_local.gateway.call import Call, Gone, admitted
from agentcontainer_local.gateway.client import Client
from agentcontainer_local.gateway.forward import Forwarded, forward
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.refusal import Refusal


async def handle(grant: Grant | None, client: Client, scope, receive, send) -> None:
    """ASGI, with what this task may call (None: nothing). Answers every request; a plain 403 where it must not go."""
    try:
        call = await admitted(grant, client.prices, scope, receive)
        if grant.plays(call.model):
            await scripted.play(grant, call, send)
        else:
            await _while_listening(_forwarded(grant, client, call, send), receive)
    except Refusal as reason:
        await refusal.answer(reason, send)
    except Gone:
        return


async def _forwarded(grant: Grant, client: Client, call: Call, send) -> None:
    """The record is written whatever happens (a call that was cut has cost something too), and before the end is sent.

    Without an end the server closes the connection, so that the guest sees the cut as one.
    """
    state = Forwarded(grant, client, call)
    try:
        await forward(state, send)
    finally:
        if call.route.dialect != "count":
            grant.record(state.usage())
    if state.whole:
        await send({"type": "http.response.body", "body": b""})


async def _while_listening(work: Coroutine[None, None, None], receive) -> None:
    """Does the work, but drops it, and with it the call upstream, as soon as the client has gone."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not working.done():
            working.cancel()
        listening.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)
    if not working.cancelled():
        working.result()


async def _gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
