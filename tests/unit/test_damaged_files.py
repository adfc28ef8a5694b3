"""Bytes that changed or vanished on disk are not handed out as the file that was stored."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from agentcontainer_local.store.files import checked
from tests.unit.test_inputs import dispatched, inside

MB = 1024**2
SIZES = [10, 300_000, checked.AT_ONCE_BYTES, checked.AT_ONCE_BYTES + 1, 9 * MB]


@pytest.mark.parametrize("size", SIZES)
async def test_a_whole_file_is_downloaded_as_often_as_it_is_asked_for(client, upload, size: int):
    content = os.urandom(size)
    id = await upload(content)
    for _ in range(2):
        answer = await client.get(f"/files/{id}/content")
        assert answer.status_code == 200 and answer.content == content
        assert int(answer.headers["content-length"]) == size and answer.headers["accept-ranges"] == "bytes"
        assert "last-modified" in answer.headers and "etag" in answer.headers


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("asked_before", [False, True])
async def test_changed_bytes_are_never_downloaded_whole(client, host, upload, size: int, asked_before: bool):
    content = os.urandom(size)
    id = await upload(content)
    if asked_before:
        assert (await client.get(f"/files/{id}/content")).content == content
    place = host.files / id
    times = place.stat()
    with place.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes([content[size // 2] ^ 1]))
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    for attempt in range(2):
        try:
            answer = await client.get(f"/files/{id}/content")
        except checked.Cut:  # over a socket the connection is cut
            assert size > checked.AT_ONCE_BYTES and attempt == 0
        else:
            assert answer.status_code == 500 and id in answer.json()["error"]["message"]
    part = await client.get(f"/files/{id}/content", headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == content[:4]


def folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


CHANGES = {
    "missing": Path.unlink,
    "shorter": lambda place: place.write_bytes(b"1"),
    "longer": lambda place: place.write_bytes(b"1,2,3,4"),
    "other": lambda place: place.write_bytes(b"3,2,1"),
    "a folder": folder,
    "a pipe": pipe,
    "not to be read": lambda place: place.chmod(0),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_guest_is_told_at_once_that_an_input_is_damaged(client, host, upload, change: str):
    id = await upload(b"1,2,3", "numbers.csv")
    task_id = await dispatched(client, [id])
    CHANGES[change](host.files / id)
    async with inside(host, task_id) as guest:
        answer = await guest.get(f"/{id}")
    assert answer.status_code == 410 and "numbers.csv" in answer.json()["error"]["message"]


async def test_a_large_damaged_input_is_cut_and_then_told(client, host, upload):
    id = await upload(bytes(9 * MB), "large.bin")
    task_id = await dispatched(client, [id])
    with (host.files / id).open("r+b") as file:
        file.write(b"1")
    async with inside(host, task_id) as guest:
        with pytest.raises(checked.Cut):
            await guest.get(f"/{id}")
        assert (await guest.get(f"/{id}")).status_code == 410


async def test_an_archive_with_a_damaged_file_is_cut(client, host, upload):
    ids = [await upload(bytes([n]) * 10, f"{n}.bin") for n in range(2)]
    task_id = await dispatched(client, [])
    for id in ids:
        host.db.conn.execute("INSERT INTO task_outputs (task_id, file_id) VALUES (?, ?)", (task_id, id))
    path = f"/tasks/{task_id}/files.zip"
    answer = await client.get(path)
    assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) == 2
    for damage in (lambda place: place.write_bytes(b"x" * 10), lambda place: place.chmod(0), Path.unlink):
        damage(host.files / ids[1])
        with pytest.raises(checked.Cut):
            await client.get(path)
