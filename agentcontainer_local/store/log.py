"""Syncs the database's write-ahead log in a thread. One sync covers all that was written before it began."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class NotSynced(OSError):
    """A sync failed, so changes may be lost at a loss of power. The caller's request has not been answered yet."""


class Log:
    """The write-ahead log. Its file has the transactions that were committed without a sync."""

    def __init__(self, path: str, sync: Callable[[int], None] = os.fdatasync):
        self._file = os.open(path, os.O_RDONLY)  # kept open, because the kernel reports an error once to each open file
        self._sync = sync
        self._thread = ThreadPoolExecutor(1, "log")
        self._syncing: asyncio.Future[None] | None = None
        self.transactions = self._synced = 0
        self.failed = False
        self.restarted = False  # since it failed

    def written(self) -> None:
        """Counts a transaction that was committed without a sync."""
        self.transactions += 1

    async def synced(self) -> None:
        """Returns when everything written so far is on disk. Raises NotSynced."""
        until = self.transactions
        while self._synced < until:
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._synced_once())
            await asyncio.shield(self._syncing)

    async def _synced_once(self) -> None:
        written = self.transactions
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._sync, self._file)
            self._synced = written
        except OSError as error:
            self.failed = True  # the kernel may drop what it could not write, so a later sync proves nothing
            raise NotSynced(error.errno, error.strerror) from error
        finally:
            self._syncing = None

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self._file)
