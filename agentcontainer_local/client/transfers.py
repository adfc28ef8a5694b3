"""Files to the server and from it, piece by piece; what was cut goes on where it stopped."""

import contextlib
import io
import mimetypes
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from agentcontainer_local import schemas
from agentcontainer_local.client import requests
from agentcontainer_local.client.effects import (
    Answer,
    Content,
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
from agentcontainer_local.client.errors import Changed, NotReachable, refusal

PIECE = 256 * 1024
STORING_SECONDS = 300.0         # the server syncs what it got before it answers
Progress = Callable[[int, int], None]       # bytes so far, and in all
Source = str | os.PathLike[str] | bytes
Target = str | os.PathLike[str] | BinaryIO


def upload(
    source: Source, *, filename: str | None = None, content_type: str | None = None, progress: Progress | None = None
) -> Program[schemas.UploadedFile]:
    """`source`: a file's path, or bytes. Raises Changed when the file has become shorter meanwhile."""
    if isinstance(source, bytes) and filename is None:
        raise TypeError("bytes need a filename")
    content = yield Work(lambda: _content(source, progress))
    name = filename or Path(os.fspath(source)).name
    guessed = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    asked = {"filename": name, "contentType": guessed, "sizeBytes": content.size}
    prepared = yield from requests.send("POST", "/uploads/prepare", schemas.PreparedUpload, asked)
    yield from _fill(prepared, content)
    given = {"uploadId": prepared.upload_id}
    return (yield from requests.send("POST", "/uploads/complete", schemas.UploadedFile, given))


def _fill(prepared: schemas.PreparedUpload, content: Content) -> Program[None]:
    retries, lost = (yield Retries()), None
    for attempt in range(1, retries + 2):
        try:
            answer = yield Send(Request("PUT", prepared.upload_url, headers=prepared.headers, content=content,
                                        read_seconds=STORING_SECONDS))
        except Unreachable as error:
            lost = error
            yield Pause(requests.backoff(attempt))
            continue
        # 409 after a lost answer: the bytes had come after all.
        if answer.ok or (answer.status == 409 and lost is not None):
            return
        if answer.status not in requests.BUSY or attempt > retries:
            raise refusal(answer)
        yield Pause(requests.pause_of(answer, attempt))
    raise NotReachable(str(lost)) from lost


def _content(source: Source, progress: Progress | None) -> Content:
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    return Content(size, lambda: _pieces(source, size, progress))


def _pieces(source: Source, size: int, progress: Progress | None) -> Iterator[bytes]:
    """Exactly `size` bytes, whatever is added to the file meanwhile."""
    sent = 0
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        while sent < size:
            piece = file.read(min(PIECE, size - sent))
            if not piece:
                raise Changed(f"{os.fspath(source)!r} has become shorter while it was sent.")
            yield piece
            sent += len(piece)
            if progress is not None:
                progress(sent, size)


def download(path: str, to: Target, progress: Progress | None) -> Program[None]:
    """Into an open file from where it stands, or as the new file `to`: whole, or not there at all."""
    if not isinstance(to, str | os.PathLike):
        yield from _received(path, to, progress)
        return
    target = Path(to)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    file = yield Work(lambda: part.open("xb"))
    try:
        yield from _received(path, file, progress)
        yield Work(lambda: _kept(file, part, target))
    finally:
        file.close()
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _kept(file: BinaryIO, part: Path, target: Path) -> None:
    file.close()
    part.replace(target)


def _received(path: str, file: BinaryIO, progress: Progress | None) -> Program[None]:
    retries, failures = (yield Retries()), 0
    done, tag = 0, ""
    while True:
        headers = {"Range": f"bytes={done}-", "If-Range": tag} if done else {}
        answer = None
        try:
            answer = yield Open(Request("GET", path, headers=headers))
            if answer.ok:
                if done and answer.status != 206:
                    raise Changed("The file on the server has changed while it was fetched.")
                tag = answer.headers.get("etag", "")
                size = done + int(answer.headers["content-length"])
                while piece := (yield Read()):
                    yield Work(lambda piece=piece: file.write(piece))
                    done, failures = done + len(piece), 0
                    if progress is not None:
                        progress(done, size)
                return
            _raise_if_final(answer, failures, retries)
        except Unreachable as lost:
            if failures >= retries:
                raise NotReachable(str(lost)) from lost
        failures += 1
        yield Pause(requests.backoff(failures) if answer is None else requests.pause_of(answer, failures))


def _raise_if_final(answer: Answer, failures: int, retries: int) -> None:
    if answer.status not in requests.BUSY or failures >= retries:
        raise refusal(answer)
