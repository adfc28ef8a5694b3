"""A registry shared by all servers of this account: a directory of symbolic links, each a name and its value.

A link exists or it does not, so a server that is killed leaves nothing half-made; and no server has to be alive.
"""

import contextlib
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

from agentcontainer_local.process import file_lock

SWEEP_SECONDS = 24 * 3600


class Registry:
    def __init__(self, folder: Path):
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """For moments only: nobody waits for Podman meanwhile."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RuntimeError(
                f"{self.folder} can't be written ({error.strerror}): make the home of this account writable for it."
            ) from None
        try:
            file_lock.wait(lock)
            yield lock
        finally:
            os.close(lock)

    def sweep_is_due(self) -> bool:
        """True once a day, for one server of the account."""
        with self.locked() as lock:
            due = abs(time.time() - os.fstat(lock).st_mtime) > SWEEP_SECONDS  # the clock may have been set back
            if due:
                os.utime(lock)
            return due

    def value(self, name: str) -> str | None:
        try:
            return os.readlink(self.folder / name)
        except OSError:
            return None

    def put(self, name: str, value: str) -> bool:
        """False where the name is taken."""
        try:
            os.symlink(value, self.folder / name)
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def entries(self) -> Iterator[tuple[str, str]]:
        for name in os.listdir(self.folder):
            if (value := self.value(name)) is not None:  # the lock is no link
                yield name, value

    def seconds_old(self, name: str) -> float:
        return time.time() - (self.folder / name).lstat().st_mtime

    def touch(self, name: str) -> None:
        os.utime(self.folder / name, follow_symlinks=False)


def of_account(name: str) -> Registry:
    """In the account's own home, whatever HOME says: its uids are the account's."""
    return Registry(folder() / name)


def folder() -> Path:
    """Of all registries."""
    return home() / ".local/state/agentcontainer"


def home() -> Path:
    try:
        return Path(pwd.getpwuid(int(os.environ.get("_CONTAINERS_ROOTLESS_UID", os.getuid()))).pw_dir)
    except KeyError:
        return Path.home()
