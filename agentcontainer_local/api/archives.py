"""Files as one ZIP archive, made while it is sent: nothing of it is kept in memory or on disk."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from agentcontainer_local.http.downloads import disposition
from agentcontainer_local.store.db import Row
from agentcontainer_local.store.files.checked import Cut
from agentcontainer_local.store.files.names import free_name, safe_name

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CHUNK_BYTES = 256 * 1024
MODE = 0o100644 << 16  # a plain file, as a ZIP archive keeps it


class _Sent(io.RawIOBase):
    """Where the archive is written: a stream that can't go back."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer") -> int:
        self._written.append(bytes(data))
        return len(self._written[-1])

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


def archive(request: Request, name: str, files: Iterable[tuple[Row, Path]]) -> Response:
    """The files under their own names, each made safe and unique; a worker thread reads them."""
    headers = {
        "content-disposition": disposition(name),
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    content = _written(files) if request.method == "GET" else ()
    return StreamingResponse(content, media_type="application/zip", headers=headers)


def _written(files: Iterable[tuple[Row, Path]]) -> Iterator[bytes]:
    sent = _Sent()
    taken: dict[str, int] = {}
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for file, place in files:
            member = _member(free_name(safe_name(file["filename"]), taken), file["created_at"])
            digest = hashlib.sha256()
            with _source(file, place) as source, zipped.open(member, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
                    yield sent.take()
            if digest.hexdigest() != file["sha256"]:
                raise Cut(file)
    yield sent.take()


def _source(file: Row, place: Path) -> BinaryIO:
    try:
        return place.open("rb")
    except OSError:
        raise Cut(file) from None


def _member(name: str, created_at: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, datetime.fromisoformat(created_at).timetuple()[:6])
    member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, MODE
    return member
