"""Files to the server and from it, piece by piece; what was cut goes on where it stopped."""

import contextlib
import functools
import io
import mimetypes
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from agentcontainer_local import schemas
from agentcontainer_local.client import directory, requests
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
from agentcontainer_local.client.errors import Changed, NotReachable, WrongUse, local, refusal

PIECE = 256 * 1024
STORING_SECONDS = 300.0  # the server syncs what it got before it answers
Progress = Callable[[int, int], None]  # bytes so far, and in all
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
Target = str | os.PathLike[str] | BinaryIO
Folder = str | os.PathLike[str]


def upload(
    source: Source, *, filename: str | None = None, content_type: str | None = None, progress: Progress | None = None
) -> Program[schemas.UploadedFile]:
    """Upload a file. `source` is its path, its bytes, or a file object, read from where it stands. A directory becomes
    one archive, which is a directory again in the agent's workspace.

    Bytes, and a file object without a name, need a `filename`. Raises Changed if the file becomes shorter meanwhile.
    """
    name = _name(source, filename)
    if _is_directory(source):
        name, content_type = f"{name}.tar", content_type or schemas.DIRECTORY
    content = yield Work(lambda: _content(source, progress))
    try:
        guessed = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        asked = {"filename": name, "contentType": guessed, "sizeBytes": content.size}
        prepared = yield from requests.send("POST", "/uploads/prepare", schemas.PreparedUpload, asked)
        yield from _fill(prepared, content)
        given = {"uploadId": prepared.upload_id}
        return (yield from requests.send("POST", "/uploads/complete", schemas.UploadedFile, given))
    finally:
        content.close()


def _fill(prepared: schemas.PreparedUpload, content: Content) -> Program[None]:
    retries, lost = (yield Retries()), None
    for attempt in range(1, retries + 2):
        try:
            answer = yield Send(
                Request(
                    "PUT", prepared.upload_url, headers=prepared.headers, content=content, read_seconds=STORING_SECONDS
                )
            )
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


def _name(source: Source, given: str | None) -> str:
    """A name that is not UTF-8 gets a sign in the place of each byte that is none."""
    name = given or (source if isinstance(source, str | os.PathLike) else getattr(source, "name", None))
    if not isinstance(name, str | os.PathLike):
        raise WrongUse("Bytes, and a file object without a name, need a filename: upload(data, filename='data.csv').")
    whole = given or Path(os.fspath(name)).name or Path(os.fspath(name)).resolve().name
    return os.fsencode(whole).decode(errors="replace")


def _content(source: Source, progress: Progress | None) -> Content:
    if isinstance(source, str | os.PathLike):
        return _content_at(source, progress)
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    if isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise WrongUse("upload takes a path, bytes, or a file object that is open in binary mode ('rb').")
    file = source if source.seekable() else _copied(source)
    begin = file.tell()
    size = file.seek(0, os.SEEK_END) - begin

    def pieces() -> Iterator[bytes]:
        file.seek(begin)
        return _read(file, size, progress)

    return Content(size, pieces, (lambda: None) if file is source else file.close)


def _content_at(path: str | os.PathLike[str], progress: Progress | None) -> Content:
    if _is_directory(path):
        size, pieces = directory.plan(path)
        return Content(size, lambda: _told(pieces(), size, progress))
    size = Path(path).stat().st_size
    return Content(size, functools.partial(_pieces, path, size, progress))


def _is_directory(source: Source) -> bool:
    return isinstance(source, str | os.PathLike) and Path(source).is_dir()


def _told(pieces: Iterator[bytes], size: int, progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        if progress is not None:
            progress(sent, size)


def _copied(file: BinaryIO) -> BinaryIO:
    """An upload may have to be begun again: what can be read only once is copied to disk first."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its Content
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


def _pieces(path: str | os.PathLike[str], size: int, progress: Progress | None) -> Iterator[bytes]:
    with _opened(path) as file:
        yield from _read(file, size, progress)


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise local(error) from error


def _read(file: BinaryIO, size: int, progress: Progress | None) -> Iterator[bytes]:
    """Exactly `size` bytes, whatever is added to the file meanwhile."""
    sent = 0
    while sent < size:
        try:
            piece = file.read(min(PIECE, size - sent))
        except OSError as error:
            raise local(error) from error
        if not piece:
            raise Changed("The file became shorter while it was sent.")
        yield piece
        sent += len(piece)
        if progress is not None:
            progress(sent, size)


def download(path: str, to: Target, progress: Progress | None, query: dict[str, str] | None = None) -> Program[None]:
    """Into an open file from where it stands, or as the new file `to`: whole, or not there at all."""
    if isinstance(to, io.TextIOBase):
        raise WrongUse("A download goes to a path, or to a file object that is open in binary mode ('wb').")
    if not isinstance(to, str | os.PathLike):
        yield from _received(path, query, to, progress)
        return
    target = Path(to)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    file = yield Work(lambda: part.open("xb"))
    try:
        yield from _received(path, query, file, progress)
        yield Work(lambda: _kept(file, part, target))
    finally:
        file.close()
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _kept(file: BinaryIO, part: Path, target: Path) -> None:
    file.close()
    part.replace(target)


def _received(path: str, query: dict[str, str] | None, file: BinaryIO, progress: Progress | None) -> Program[None]:
    retries, failures = (yield Retries()), 0
    done, tag = 0, ""
    while True:
        headers = {"Range": f"bytes={done}-", "If-Range": tag} if done else {}
        answer = None
        try:
            answer = yield Open(Request("GET", path, query or {}, headers=headers))
            if answer.ok:
                if done and answer.status != 206:
                    raise Changed("The file on the server changed during the download. Download it again.")
                tag = answer.headers.get("etag", "")
                size = done + int(answer.headers.get("content-length", 0))  # a proxy may leave it out
                while piece := (yield Read()):
                    yield Work(functools.partial(file.write, piece))
                    done, failures = done + len(piece), 0
                    if progress is not None:
                        progress(done, max(done, size))
                return
            _raise_if_final(answer, failures, retries)
        except Unreachable as lost:
            if failures >= retries or done and not tag:
                raise NotReachable(str(lost)) from lost
        failures += 1
        yield Pause(requests.backoff(failures) if answer is None else requests.pause_of(answer, failures))


def _raise_if_final(answer: Answer, failures: int, retries: int) -> None:
    if answer.status not in requests.BUSY or failures >= retries:
        raise refusal(answer)
