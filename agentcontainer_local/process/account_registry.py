"""A registry shared by all servers of this account: a directory of symbolic links, each with a name and a value.

Creating a link is atomic, so a killed server leaves nothing incomplete. No server has to run.
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
        """Holds the registry's lock. Only for short work, without calls of Podman."""
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
            due = abs(time.time() - os.fstat(lock).st_mtime) > SWEEP_SECONDS  # abs: the clock may have been set back
            if due:
                os.utime(lock)
            return due

    def value(self, name: str) -> str | None:
        try:
            return os.readlink(self.folder / name)
        except OSError:
            return None

    def put(self, name: str, value: str) -> bool:
        """Adds an entry. Returns False if the name exists."""
        try:
            os.symlink(value, self.folder / name)
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def entries(self) -> Iterator[tuple[str, str]]:
        for name in os.listdir(self.folder):
            if (value := self.value(name)) is not None:  # the lock file is not a link
                yield name, value

    def seconds_old(self, name: str) -> float:
        return time.time() - (self.folder / name).lstat().st_mtime

    def touch(self, name: str) -> None:
        os.utime(self.folder / name, follow_symlinks=False)


def of_account(name: str) -> Registry:
    """A registry in the account's own home. HOME is ignored, because uids belong to the account."""
    return Registry(folder() / name)


def folder() -> Path:
    """The directory of all registries."""
    return home() / ".local/state/agentcontainer"


def home() -> Path:
    try:
        return Path(pwd.getpwuid(int(os.environ.get("_CONTAINERS_ROOTLESS_UID", os.getuid()))).pw_dir)
    except KeyError:
        return Path.home()
