"""Opens the backend that the settings name. Each backend is imported only if it is used."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agentcontainer_local.sandbox.backend import Backend, Exports, Images, Leftovers, Say
from agentcontainer_local.sandbox.checks import ok
from agentcontainer_local.schemas import Check, WallCheck
from agentcontainer_local.settings import Settings

if TYPE_CHECKING:
    from agentcontainer_local.sandbox.placed.backend import Runs
    from agentcontainer_local.sandbox.placed.certificates import Authority
    from agentcontainer_local.sandbox.podman.remembered import Remembered

    class Store(Remembered, Runs, Protocol): ...


PODMAN, SIMULATED = "podman", "simulated"


def open(
    settings: Settings, store_id: str, remembered: "Store", runtime: Path | None
) -> AbstractAsyncContextManager[Backend]:
    """The backend for the runs of one store, which only one server at a time may open. `runtime`: the directory with
    the guest's program; None if the backend needs none."""
    if settings.backend == SIMULATED:
        from agentcontainer_local.sandbox.simulated import place

        return place.open(settings, store_id)
    if runtime is None:
        raise ValueError("containers need the runtime")
    if settings.scheduler is not None:
        from agentcontainer_local.sandbox.placed import opening

        return opening.open(settings, store_id, remembered, runtime)
    from agentcontainer_local.sandbox.podman import backend

    return backend.open(settings, store_id, remembered, runtime)


# Without a server


def node_authority(data: Path) -> "Authority":
    """The certificates of the nodes that may run agents of that data directory."""
    from agentcontainer_local.sandbox.placed.certificates import Authority

    return Authority(data)


def exports(settings: Settings, store_id: str, remembered: "Remembered") -> Exports:
    if settings.scheduler is not None:
        from agentcontainer_local.sandbox.placed.checkpoints import Checkpoints

        return Checkpoints(settings.data)
    from agentcontainer_local.sandbox.podman.exports import PodmanExports

    return PodmanExports(store_id, remembered)


def image_names(settings: Settings) -> tuple[str, ...]:
    """The names of the standard images."""
    from agentcontainer_local.sandbox.podman import standard_images

    return tuple(standard_images.BY_PRESET)


def images(settings: Settings) -> AbstractAsyncContextManager[Images]:
    from agentcontainer_local.sandbox.podman import kept_images

    return kept_images.open()


def leftovers(settings: Settings) -> AbstractAsyncContextManager[Leftovers]:
    from agentcontainer_local.sandbox.podman import leftovers

    return leftovers.open()


def removal(settings: Settings, store_id: str) -> list[str] | None:
    """The command that removes everything that a store has outside its data directory, after its server was killed.
    None if there is nothing."""
    if settings.backend == SIMULATED:
        return None
    from agentcontainer_local.sandbox.podman import leftovers

    return leftovers.removal(store_id)


def examine(settings: Settings, root: bool) -> list[Check]:
    """Checks what the backend needs of this machine. `root`: root started the check, and it now runs as the account."""
    if settings.backend == SIMULATED:
        return [ok("simulated backend", "plays runs within the server: no Podman, no Node and no Pi are needed")]
    from agentcontainer_local.sandbox.podman import checks

    return checks.examine(root)


async def prove(settings: Settings, say: Say) -> list[WallCheck]:
    """Tries each promise of isolation. A server may be running at the same time."""
    from agentcontainer_local.sandbox.podman import proof

    return await proof.alone(settings, say)
