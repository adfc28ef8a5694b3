"""Which backend a server uses: the one that its settings name. Each is imported only where it is used."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from agentcontainer_local.sandbox.backend import Backend
from agentcontainer_local.settings import Settings

if TYPE_CHECKING:
    from agentcontainer_local.sandbox.podman.remembered import Remembered


PODMAN, SIMULATED = "podman", "simulated"


def open(
    settings: Settings, store_id: str, remembered: "Remembered", runtime: Path | None
) -> AbstractAsyncContextManager[Backend]:
    """All runs of one store; one server at a time has it open. `runtime`: what a run's guest is made of; None where
    the backend needs none."""
    if settings.backend == SIMULATED:
        from agentcontainer_local.sandbox.simulated import place

        return place.open(settings, store_id)
    from agentcontainer_local.sandbox.podman import backend

    if runtime is None:
        raise ValueError("containers need the runtime")
    return backend.open(settings, store_id, remembered, runtime)
