"""What a task may call and spend: its models, its key and its remaining budget, looked up for each call."""

import asyncio
import math
import sqlite3
from dataclasses import replace

from agentcontainer_local import gateway, guest, lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.pi import models
from agentcontainer_local.store import db, model_settings, tasks

HOLD_SECONDS = 5  # how long a call of a run that is about to stop is delayed
NOT_RUNNING = "The task is not running."


async def until_at_work(host: Host, door: guest.Door) -> None:
    """Delays a call of a run that is about to stop. A refusal would remain in the agent's session."""
    deadline = host.steady() + HOLD_SECONDS
    while True:
        changed = host.changed.mark(door.task_id)
        over = tasks.get(host.db, door.task_id)["status"] in lifecycle.TERMINAL
        if over or tasks.at_work(host.db, door.run_id) or host.steady() >= deadline:
            return
        await host.now.wait({changed}, deadline - host.steady())


def known(host: Host, task_id: str) -> gateway.Known:
    return gateway.Known(tasks.written_tokens(host.db, task_id))


def grant(host: Host, door: guest.Door) -> gateway.Grant:
    """What the task may call now. It is looked up for each call, so that a changed key applies to the next one."""
    task = tasks.get(host.db, door.task_id)
    execution = _of_run(host, door.run_id, tasks.execution(host.context, task))
    lost = f"The API key can't be read: {tasks.LOST_KEY}" if execution.lost and not execution.scripted else None
    return gateway.Grant(
        provider=execution.provider,
        models=frozenset(
            models.spelled(execution.provider, id, host.catalog) for id in (execution.model, execution.weak_model) if id
        ),
        api_key=execution.api_key,
        base_url=execution.base_url,
        scripted=execution.scripted,
        conversation=task["mode"] == "conversation",
        reserve=lambda worst: reserved(host, door, worst),
        settle=lambda reserved, usage: settled(host, reserved, usage),
        free=model_settings.free(
            host.db, task["account_id"], execution.provider, list(execution.settings), host.environ
        ),
        own_address=execution.own_address,
        key_source=execution.key_source,
        reached=lambda: tasks.reached(host.db, door.task_id),
        learn=lambda *told: tasks.learn_window(host.db, door.task_id, host.environ, *told),
        working=lambda progress: _working(host, door.task_id, progress),
        capped=tasks.capped(host.db, task),
        known=door.known,
        refuse=lost if tasks.at_work(host.db, door.run_id) else NOT_RUNNING,
        task_id=door.task_id,
    )


def _of_run(host: Host, run_id: str, execution: tasks.Execution) -> tasks.Execution:
    """The run keeps the base URL that it began with. A changed key applies at once, but only to the same URL."""
    run = db.row(host.db, "SELECT base_url, provider_key FROM runs WHERE id = ?", (run_id,))
    if run is None or run["base_url"] in (None, execution.base_url):
        return execution
    key = host.vault.unseal(run["provider_key"]) if run["provider_key"] is not None else None
    return replace(execution, base_url=run["base_url"], api_key=key)


async def reserved(host: Host, door: guest.Door, worst: tasks.Worst) -> tasks.Reserved:
    """Reserves budget for a call. Waits while calls in progress may free some. Raises tasks.Refused otherwise."""

    def reserve() -> tasks.Reserved:
        if not tasks.at_work(host.db, door.run_id):  # the task may have hibernated while this waited
            raise tasks.Refused(NOT_RUNNING)
        return tasks.reserve(host.db, door.task_id, worst, host.now())

    while True:
        settled = host.settled.mark()
        try:
            return await host.db.waited(reserve)
        except tasks.Refused as reason:
            if not reason.others_at_work:
                raise
        await asyncio.wait({settled})


def _working(host: Host, task_id: str, progress: gateway.Progress | None) -> None:
    if progress is None:
        host.calling.pop(task_id, None)
    else:
        host.calling[task_id] = progress
    host.called.set()


def settled(host: Host, reserved: tasks.Reserved, usage: tasks.Usage) -> None:
    def settle() -> None:
        tasks.settle(host.db, reserved.number, usage, host.now())
        host.settled.set()

    try:
        settle()
    except sqlite3.OperationalError as error:
        if not db.is_busy(error):
            raise
        settling = asyncio.create_task(host.db.waited(settle, math.inf))
        host.settling.add(settling)  # if the server ends first, the next one counts the worst case
        settling.add_done_callback(host.settling.discard)
