"""Pictures that an agent reads: they reach the model, unless it takes none or its provider refuses them."""

import json
import struct
import zlib
from pathlib import Path

import pytest

from .door import Door
from .lab import Lab
from .test_run import PROVIDERS, UNKNOWN, UNKNOWN_MODELS
from .wire import Say, call

PICTURE = {"/messages": '"type": "image"', "/responses": '"input_image"', "/chat/completions": '"image_url"'}
SIZES = [(8, 8), (1280, 720), pytest.param(4000, 3000, marks=pytest.mark.slow)]


def png(path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(range(256)) * (width * 3 // 256 + 1))[: width * 3 + 1] * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def has_picture(body: dict) -> bool:
    return any(mark in json.dumps(body) for mark in PICTURE.values())


async def reading(lab: Lab, door: Door, *pictures: str, **launch) -> None:
    door.answers = [*(call("read", path=path) for path in pictures), Say("seen")]
    lab.launch(mode="conversation", **launch)
    await lab.start()
    door.prompt("Look")
    await door.heard("settled", within=120)  # a picture of 12 megapixels is made smaller, in seconds


@pytest.mark.parametrize(("provider", "model", "path"), PROVIDERS)
@pytest.mark.parametrize(("width", "height"), SIZES)
async def test_a_picture_that_is_read_reaches_the_model(lab: Lab, door: Door, provider, model, path, width, height):
    png(lab.workspace / "a.png", width, height)
    await reading(lab, door, "a.png", provider=provider, model=model)
    assert [asked.path for asked in door.asked] == [path, path]
    assert not has_picture(door.asked[0].body) and has_picture(door.asked[1].body)
    assert "omitted" not in json.dumps(door.asked[1].body)


@pytest.mark.parametrize(("provider", "model", "api", "path"), UNKNOWN_MODELS)
async def test_a_model_that_takes_no_pictures_gets_none(lab: Lab, door: Door, provider, model, api, path):
    png(lab.workspace / "a.png", 8, 8)
    blind = [{"id": model, "api": api, **UNKNOWN, "input": ["text"]}]
    await reading(lab, door, "a.png", provider=provider, model=model, models=blind)
    assert [asked.path for asked in door.asked] == [path, path]
    assert not has_picture(door.asked[1].body)
    assert "does not support images" in json.dumps(door.asked[1].body)


REFUSALS = [
    (400, "Could not process image"),
    (404, "No endpoints found that support image input"),
    (400, "invalid_request_error: messages.2.content.0 is not valid"),
    (415, "Unsupported media type"),
    (422, "image input is not supported by this model"),
]


@pytest.mark.parametrize(("provider", "model", "path"), PROVIDERS)
@pytest.mark.parametrize(("status", "words"), REFUSALS)
async def test_after_a_refused_picture_the_agent_goes_on_without_it(
    lab: Lab, door: Door, provider, model, path, status, words
):
    png(lab.workspace / "a.png", 8, 8)
    door.refuse_model = lambda body: (status, words) if has_picture(body) else None
    await reading(lab, door, "a.png", provider=provider, model=model)
    assert [has_picture(asked.body) for asked in door.asked] == [False, True, False]
    assert words in json.dumps(door.asked[2].body)
    assert door.events("message")[-1]["text"] == "seen"
    door.prompt("And now?", id="turn-2")
    await door.heard("settled", 2)
    assert not has_picture(door.asked[-1].body)
    assert door.events("message")[-1]["stopReason"] == "stop"


async def test_a_refused_picture_is_left_out_by_the_next_container_too(lab: Lab, door: Door):
    png(lab.workspace / "a.png", 8, 8)
    door.refuse_model = lambda body: (400, "Could not process image") if has_picture(body) else None
    await reading(lab, door, "a.png")
    await lab.kill()
    await door.next_life()
    asked = len(door.asked)
    await lab.start()
    door.prompt("And now?", id="turn-2")
    await door.heard("settled")
    assert door.asked[asked:] and not any(has_picture(one.body) for one in door.asked[asked:])


async def test_pictures_that_were_taken_before_are_kept_when_a_new_one_is_refused(lab: Lab, door: Door):
    png(lab.workspace / "good.png", 8, 8)
    png(lab.workspace / "bad.png", 9, 9)

    def count(body: dict) -> int:
        return json.dumps(body).count('"image/png"')

    door.refuse_model = lambda body: (400, "messages.4 is not valid") if count(body) > 1 else None
    await reading(lab, door, "good.png", "bad.png")
    assert [count(asked.body) for asked in door.asked] == [0, 1, 2, 1]


@pytest.mark.parametrize(("status", "words"), [(400, "Bad request"), (401, "Wrong key"), (400, "prompt is too long")])
async def test_a_refusal_that_is_not_of_a_picture_is_not_asked_again(lab: Lab, door: Door, status, words):
    door.refuse_model = lambda body: (status, words)
    lab.launch(mode="conversation", settings={"compaction": {"enabled": False}})
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert len(door.asked) == 1 and door.events("message")[-1]["stopReason"] == "error"
