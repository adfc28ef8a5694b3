"""A download, whatever happens to its file meanwhile."""

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import Request

from agentcontainer_local.errors import NotFound
from agentcontainer_local.http.downloads import download


async def test_a_file_that_is_deleted_while_it_is_asked_for_is_not_found(tmp_path):
    place = tmp_path / "file_1"
    place.write_bytes(b"bytes")
    file = {"id": "file_1", "filename": "out", "size_bytes": 5, "sha256": hashlib.sha256(b"bytes").hexdigest()}
    request = Request({"type": "http", "method": "GET", "headers": [], "path": "/", "query_string": b""})
    free = threading.Event()
    with ThreadPoolExecutor(1) as reader:  # the one thread that reads files is busy until the file is gone
        asyncio.get_running_loop().set_default_executor(reader)
        reader.submit(free.wait, 30)
        asked = asyncio.ensure_future(download(request, file, place))
        await asyncio.sleep(0)
        place.unlink()
        free.set()
        with pytest.raises(NotFound):
            await asked
