"""What the server needs of this machine: all that its backend needs, and a data directory that is in order."""

from collections.abc import Iterator

from agentcontainer_local.sandbox import backends, checks
from agentcontainer_local.schemas import Check
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import integrity


def examine(settings: Settings, root: bool = False) -> list[Check]:
    """Looks, and changes nothing; takes about a quarter of a second.

    `root`: root asked, and has become the account meanwhile.
    """
    return [*backends.examine(settings, root), checks.disk("data", settings.data), *_data_directory(settings)]


def no_account(name: str, making: str) -> list[Check]:
    """What root is told where the account that serves does not exist yet."""
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
