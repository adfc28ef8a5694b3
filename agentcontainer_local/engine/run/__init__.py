"""One run of one task: from its pending row to one that is gone, or kept for later."""

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

GuestOf = Callable[[Run], AbstractAsyncContextManager[Guest]]  # a run → what its guest reaches, while it is open


async def run(host: Host, task_id: str, guest_of: GuestOf, alive: Found | None = None) -> None:
    """Runs the task until its row says that it no longer should; `alive`: it is at work already.

    Cancelled (the server ends), it lets go and leaves everything as it is, for the next server to take up.
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
            raise  # it waits, and the supervisor tries again
        fail(host, task_id, str(error))
    except (SandboxError, Problem) as error:
        if may_work_later(error) and host.place.worth_a_try(task_id):
            raise
        fail(host, task_id, str(error))
    except sqlite3.OperationalError:
        raise  # the disk is full: nothing can be written now, and the supervisor tries again
    except Exception:
        log.exception("run failed task=%s", task_id)
        fail(host, task_id, "Internal error. The server's log has the details.")
    await clear_away(host, task_id)
    if record is not None:
        tell(host, record["id"])
