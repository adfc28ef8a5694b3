"""Recordings of model calls. `--record` writes a file for each task, and `--replay` answers from these files."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping

from agentcontainer_local.gateway.cassettes import shelf
from agentcontainer_local.gateway.cassettes.record import Recorder
from agentcontainer_local.gateway.cassettes.replay import Player
from agentcontainer_local.gateway.cassettes.shelf import Shelf
from agentcontainer_local.gateway.upstream import Upstream, Wrapped
from agentcontainer_local.providers import PROVIDERS
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.context import Context

NO_KEY = "none"  # in place of a key: nothing is sent to a provider


def found(settings: Settings) -> Shelf | None:
    """The recordings to replay, or None. Creates the directory for recording. Raises RuntimeError."""
    if settings.record is not None:
        try:
            settings.record.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"Can't record into {settings.record}: {error.strerror}.") from None
        if not os.access(settings.record, os.W_OK | os.X_OK):
            raise RuntimeError(f"Can't record into {settings.record}: the server's account may not write to it.")
    if settings.replay is None:
        return None
    try:
        recordings = shelf.opened(settings.replay)
    except shelf.Damaged as error:
        raise RuntimeError(str(error)) from None
    if not recordings.heads and settings.record is None:
        raise RuntimeError(f"There is no recording in {settings.replay}. Record into it first, with --record.")
    return recordings


def with_keys(settings: Settings, recordings: Shelf | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with dummy keys for the recorded providers, because a replay needs no key."""
    if recordings is None or settings.record is not None:
        return environ
    recorded = {PROVIDERS[head.task.provider].key_variable for head in recordings.heads.values()}
    return {**environ, **{name: NO_KEY for name in recorded if not environ.get(name, "").strip()}}


@contextlib.asynccontextmanager
async def opened(context: Context, recordings: Shelf | None) -> AsyncIterator[Wrapped]:
    """The wrapper that records or replays, or leaves the live upstream as it is."""
    recorder = Recorder(context) if context.settings.record is not None else None
    if recorder is not None:
        context.db.subscribe(recorder.changed)

    def wrapped(live: Upstream) -> Upstream:
        recorded = recorder.around(live) if recorder is not None else None
        if recordings is not None:
            return Player(context, recordings, recorded).asked
        return recorded or live

    try:
        yield wrapped
    finally:
        if recorder is not None:
            await recorder.close()
