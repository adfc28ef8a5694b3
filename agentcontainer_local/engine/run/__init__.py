"""One run of one task: from its pending row until its container is removed or kept for the next run."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.cleanup import clear_away, remove_workspace
from agentcontainer_local.engine.run.follow import fail, follow, lost
from agentcontainer_local.engine.run.start import start, started
from agentcontainer_local.engine.run.trace import tell
from agentcontainer_local.errors import Problem
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import Found, Guest
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable, may_work_later
from agentcontainer_local.store import tasks
from agentcontainer_local.store.rows import Run

__all__ = ["GuestOf", "clear_away", "lost", "remove_workspace", "run", "tell"]

log = logging.getLogger(__name__)

GuestOf = Callable[[Run], AbstractAsyncContextManager[Guest]]  # opens what the run's guest can reach


async def run(host: Host, task_id: str, guest_of: GuestOf, alive: Found | None = None) -> None:
    """Runs the task until its row says that it must end. `alive`: the run to adopt, if it is working already.

    When the server ends, this is cancelled. Then everything stays as it is, for the next server to adopt.
    """
    record = None
    try:
        record = (tasks.open_run(host.db, task_id) if alive else None) or tasks.begin_run(host.db, task_id, host.now())
        failpoints.point("run.begun")
        async with guest_of(record) as guest, AsyncExitStack() as stack:
            handle = await start(stack, host, record, guest, alive)
            if handle is not None:
                started(host, record, handle)
                host.place.started(task_id)
                await follow(host, task_id, handle)
    except Unavailable as error:
        if not host.place.is_the_tasks_own(task_id):
            raise  # the task waits, and the supervisor tries again
        fail(host, task_id, str(error))
    except (SandboxError, Problem) as error:
        if may_work_later(error) and host.place.worth_a_try(task_id):
            raise
        fail(host, task_id, str(error))
    except sqlite3.OperationalError:
        raise  # the disk is full, so nothing can be written; the supervisor tries again
    except Exception:
        log.exception("run failed task=%s", task_id)
        fail(host, task_id, "Internal error. The server's log has the details.")
    await clear_away(host, task_id)
    if record is not None:
        tell(host, record["id"])
