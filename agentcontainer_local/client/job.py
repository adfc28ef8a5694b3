"""The whole job in one call: upload, dispatch, wait, download."""

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, cast

from agentcontainer_local import schemas
from agentcontainer_local.client import bodies, events, folder, requests, transfers
from agentcontainer_local.client.effects import Program, Work
from agentcontainer_local.client.errors import TaskEnded

CODING = "agt_standard_coding"
PAGE = 1000
Input = transfers.Source | tuple[str, transfers.Source]


@dataclass(frozen=True)
class Done:
    """A finished task, its files on the server, and where they were downloaded to."""

    task: schemas.Task
    files: list[schemas.TaskFile]
    paths: list[Path]

    @property
    def result(self) -> str:
        """What the agent said at its end."""
        return self.task.result or ""

    @property
    def complete(self) -> bool:
        """False if the agent says that it could not do everything."""
        return self.task.metadata.get("completion") != "incomplete"


def run(
    instructions: str,
    *,
    agent: str = CODING,
    inputs: transfers.Source | Iterable[Input] = (),
    output: transfers.Folder | None = None,
    title: str | None = None,
    metadata: dict[str, Any] | None = None,
    timeout: float | None = None,
    **overrides: Unpack[bodies.TaskOverrides],
) -> Program[Done]:
    """Do a job: upload the inputs, dispatch a task, wait for its end, and download its files into `output`.

    An input is a path, a file object, or a pair of a name and bytes. `agent` is an agent's id. Other keywords are the
    task's overrides: `model`, `max_cost_usd`, ... Raises TaskEnded if the task does not finish, and TimedOut after
    `timeout` seconds; the task then goes on.
    """
    given = requests.body_of(schemas.TaskOverrides, overrides)
    if output is not None:
        yield Work(lambda: folder.made(output))
    uploaded = []
    for name, source in _named(inputs):
        uploaded.append((yield from transfers.upload(source, filename=name)).file_id)
    body = requests.body_of(
        schemas.CreateTaskRequest,
        {
            "instructions": instructions,
            "input_file_ids": uploaded,
            "overrides": given,
            **{name: value for name, value in (("title", title), ("metadata", metadata)) if value is not None},
        },
    )
    task = yield from requests.send("POST", "/agents" + requests.below(agent) + "/tasks", schemas.Task, body)
    task = yield from events.wait(task.id, timeout=timeout)
    if task.status != "finished":
        raise TaskEnded(f"The task {task.id} is {task.status}" + (f": {task.error}" if task.error else "."), task)
    files = yield from _files(task.id)
    return Done(task, files, (yield from _fetched(task.id, files, output)) if output is not None else [])


def _named(inputs: transfers.Source | Iterable[Input]) -> list[tuple[str | None, transfers.Source]]:
    """One input alone is a list of one."""
    if isinstance(inputs, str | bytes | os.PathLike) or hasattr(inputs, "read"):
        return [(None, cast(transfers.Source, inputs))]
    return [one if isinstance(one, tuple) else (None, one) for one in cast(Iterable[Input], inputs)]


def download_all(task_id: str, directory: transfers.Folder) -> Program[list[Path]]:
    """Download all files of a task into a folder, which is made if need be. Returns their paths.

    The names are made harmless, and a file that is there already is kept: the new one is called name-2.txt.
    """
    yield Work(lambda: folder.made(directory))
    return (yield from _fetched(task_id, (yield from _files(task_id)), directory))


def _files(task_id: str) -> Program[list[schemas.TaskFile]]:
    found: list[schemas.TaskFile] = []
    cursor = None
    while True:
        page = yield from requests.get(
            "/tasks" + requests.below(task_id) + "/files",
            schemas.ListTaskFilesResponse,
            limit=PAGE,
            cursor=cursor,
        )
        found += page.data
        cursor = page.page_info.next_cursor
        if cursor is None:
            return found[::-1]  # oldest first; the hosted service has no `order` for this list


def _fetched(task_id: str, files: list[schemas.TaskFile], directory: transfers.Folder) -> Program[list[Path]]:
    paths = []
    for file in files:
        place = "/tasks" + requests.below(task_id) + "/files" + requests.below(file.id)
        path, opened = yield Work(functools.partial(folder.new, Path(directory), file.filename))
        try:
            with opened:
                yield from transfers.download(place, opened, None)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        paths.append((yield Work(functools.partial(folder.settled, path, file.filename, file.content_type))))
    return paths
