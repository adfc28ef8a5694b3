"""What the server needs of this machine: what its backend needs, and an intact data directory."""

from collections.abc import Iterator

from agentcontainer_local.sandbox import backends, checks
from agentcontainer_local.schemas import Check
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import integrity


def examine(settings: Settings, root: bool = False) -> list[Check]:
    """Runs the checks, without changing anything. Takes about a quarter of a second.

    `root`: root started the check, and it now runs as the account.
    """
    return [*backends.examine(settings, root), checks.disk("data", settings.data), *_data_directory(settings)]


def no_account(name: str, making: str) -> list[Check]:
    """The row for root if the server's account does not exist yet."""
    return [
        checks.missing(
            "account",
            f"{name} is missing: rootless Podman does not run as root."
            " `agentcontainer install-service --system` makes it, too",
            making,
        )
    ]


def _data_directory(settings: Settings) -> Iterator[Check]:
    faults = integrity.faults(settings.data)
    for fault in faults:
        yield (checks.missing if fault.fatal else checks.warning)(fault.what, fault.detail, fault.fix)
    if not faults:
        whole = (settings.data / "agentcontainer.db").exists()
        yield checks.ok("data directory", f"{settings.data}{'' if whole else ' is made at the first start'}")
