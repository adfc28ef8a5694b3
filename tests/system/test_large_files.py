"""Large files go in and out in as much memory as small ones: of 300 MB, or of AGENTCONTAINER_LARGE_MB."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.system.conftest import SIMULATED, Server, serving

MB = 1024**2
SMALL, LARGE = 10, int(os.environ.get("AGENTCONTAINER_LARGE_MB", "300"))
BLOCK = os.urandom(MB - 8)
BOUNDARY = "a-boundary"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("large")
    free = shutil.disk_usage(folder)
    if free.free < 2 * LARGE * MB + free.total / 10:
        pytest.skip(f"only {free.free // MB} MB of the disk are free")
    with serving(folder / "data", **SIMULATED, AGENTCONTAINER_MAX_FILE_BYTES=str(2 * LARGE * MB)) as running:
        yield running


def blocks(count: int) -> Iterator[bytes]:
    """Each another one, a megabyte long."""
    return (number.to_bytes(8) + BLOCK for number in range(count))


def put(url: str, count: int) -> httpx.Response:
    return httpx.put(url, content=blocks(count), headers={"content-length": str(count * MB)}, timeout=60)


def post_a_form(url: str, count: int) -> httpx.Response:
    """In chunks: nobody says beforehand how much it will be."""

    def form() -> Iterator[bytes]:
        yield f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()
        yield from blocks(count)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return httpx.post(url, content=form(), headers=headers, timeout=60)


def upload(server: Server, send, count: int) -> str:
    prepared = server.post("/uploads/prepare", {"filename": "large"})
    send(prepared["uploadUrl"], count).raise_for_status()
    file = server.post("/uploads/complete", {"uploadId": prepared["uploadId"]})
    assert file["sizeBytes"] == count * MB
    return file["id"]


def download(server: Server, file_id: str, count: int) -> None:
    digest, expected, size = hashlib.sha256(), hashlib.sha256(), 0
    with server.client.stream("GET", f"/api/v1/files/{file_id}/content") as answer:
        for chunk in answer.iter_raw():
            digest.update(chunk)
            size += len(chunk)
        tag = answer.headers["etag"]
    for block in blocks(count):
        expected.update(block)
    assert size == count * MB
    assert tag.strip('"') == digest.hexdigest() == expected.hexdigest()


def peak_mb(server: Server, work, *arguments) -> tuple[float, str | None]:
    """The most memory that the server had meanwhile, and what `work` answered."""
    own = Path(f"/proc/{server.process.pid}")
    (own / "clear_refs").write_text("5")  # from now on
    answer = work(server, *arguments)
    status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024, answer


@pytest.mark.parametrize("send", [put, post_a_form])
def test_a_large_file_takes_no_more_memory_than_a_small_one(server: Server, send):
    for count in (SMALL, LARGE):
        went_in, file_id = peak_mb(server, upload, send, count)
        came_out, _ = peak_mb(server, download, file_id, count)
        assert server.client.delete(f"/api/v1/files/{file_id}").status_code == 204
        if count == SMALL:
            small = max(went_in, came_out)
    assert max(went_in, came_out) < small + 32, f"MB for {LARGE}: {went_in:.0f} and {came_out:.0f}; {small:.0f} else"
    assert not [path for path in (server.data / "files").rglob("*") if path.is_file()]
