"""One run of one task: from its pending row to a container that is gone, or kept for later."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.cleanup import clear_away, remove_workspace
from agentcontainer_local.engine.run.follow import fail, follow, lost
from agentcontainer_local.engine.run.names import directory_for, name_of
from agentcontainer_local.engine.run.start import start, started, wanted
from agentcontainer_local.engine.run.trace import tell
from agentcontainer_local.engine.run.uids import hold as hold_uids
from agentcontainer_local.errors import Problem
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.podman import enforcement
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import Row

__all__ = ["OpenDoor", "clear_away", "hold_uids", "lost", "remove_workspace", "run", "tell"]

log = logging.getLogger(__name__)

OpenDoor = Callable[[Row, Path], AbstractAsyncContextManager[None]]  # a run and its directory → the socket is served


async def run(host: Host, task_id: str, open_door: OpenDoor, alive: podman.Found | None = None) -> None:
    """Runs the task until its row says that it no longer should; `alive` is its container, if one is at work already.

    Cancelled (the server ends), it lets go and leaves everything as it is, for the next server to take up.
    """
    record = None
    try:
        record = tasks.open_run(host.db, task_id) if alive else tasks.begin_run(host.db, task_id, host.now())
        failpoints.point("run.begun")
        directory = directory_for(host, task_id)
        async with open_door(record, directory):
            failpoints.point("door.opened")
            pid = alive.pid if alive else await start(host, task_id, record, directory)
            if pid is not None:
                started(host, task_id, record["id"])
                host.place.started(task_id)
                ceiling = enforcement.ceiling(wanted(host, task_id))
                empty = alive is None and tasks.is_first_run(host.db, record)
                async with host.sandbox.watching(name_of(host, task_id), pid, ceiling, empty) as broken:
                    await follow(host, task_id, pid, broken, directory)
    except podman.Unavailable as error:
        if not host.place.is_the_tasks_own(task_id):
            raise  # it waits, and the supervisor tries again
        fail(host, task_id, str(error))
    except (podman.SandboxError, Problem) as error:
        if podman.may_work_later(error) and host.place.worth_a_try(task_id):
            raise
        fail(host, task_id, str(error))
    except OSError as error:  # of the runtime directory, or of the disk: nothing that a task could have caused
        raise podman.Unavailable(f"A container could not be started: {error}") from error
    except sqlite3.OperationalError:
        raise  # the disk is full: nothing can be written now, and the supervisor tries again
    except Exception:
        log.exception("run failed task=%s", task_id)
        fail(host, task_id, "Internal error. The server's log has the details.")
    await clear_away(host, task_id)
    if record is not None:
        tell(host, record["id"])
