"""Model calls on their way through the daemon."""

import asyncio
import json
from io import BytesIO

import pytest
from aiohttp import ClientPayloadError, ClientSession, web

from .door import Door
from .lab import Lab


async def test_a_cut_answer_of_the_model_is_passed_on_as_a_cut(lab: Lab, door: Door):
    sent = asyncio.Event()

    async def half(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: half\n\n")
        await sent.wait()
        request.transport.abort()

    door.before_answer = half
    lab.launch()
    await lab.start()
    await door.heard("ready")
    url = f"http://127.0.0.1:{lab.port}/anthropic/v1/messages?beta=true"
    async with ClientSession() as client, client.post(url, json={"a": 1}) as answer:
        assert await answer.content.readany() == b"data: half\n\n", "bytes are passed on as they come"
        sent.set()
        with pytest.raises(ClientPayloadError):
            await answer.content.read()
    assert door.asked[-1].query == "beta=true"


async def test_a_model_call_that_nobody_waits_for_is_forgotten(lab: Lab, door: Door):
    ended = asyncio.Event()

    async def hang(request):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    door.before_answer = hang
    lab.launch()
    await lab.start()
    await door.heard("ready")
    async with ClientSession() as client:
        asking = asyncio.create_task(client.post(f"http://127.0.0.1:{lab.port}/openai/v1/responses", json={}))
        while not door.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_request_to_the_model_may_be_large_but_not_endless(lab: Lab, door: Door):
    lab.launch()
    await lab.start()
    await door.heard("ready")
    url = f"http://127.0.0.1:{lab.port}/anthropic/v1/messages"
    async with ClientSession() as client:
        large = json.dumps({"model": "m", "x": "y" * (30 << 20)}).encode()
        async with client.post(url, data=BytesIO(large)) as answer:
            assert answer.status == 200
        async with client.post(url, data=BytesIO(b"y" * (33 << 20))) as answer:
            assert answer.status == 413
