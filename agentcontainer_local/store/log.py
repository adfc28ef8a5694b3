"""The database's write-ahead log, synced in a thread: one sync for all that was written before it began."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class NotSynced(OSError):
    """What was written may be lost with the machine's power; nobody was told yet that it is there."""


class Log:
    """Transactions that were committed without a sync are in the log's file: kill -9 does not lose them."""

    def __init__(self, path: str, sync: Callable[[int], None] = os.fdatasync):
        self._file = os.open(path, os.O_RDONLY)  # kept open: an error is told once to each open file
        self._sync = sync
        self._thread = ThreadPoolExecutor(1, "log")
        self._syncing: asyncio.Future[None] | None = None
        self.transactions = self._synced = 0
        self.failed = False

    def written(self) -> None:
        """One more transaction was committed without a sync."""
        self.transactions += 1

    async def synced(self) -> None:
        """Returns once everything that is written now is on disk; raises NotSynced."""
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
            self.failed = (
                True  # the kernel may take what it could not write for written, so a later sync proves nothing
            )
            raise NotSynced(error.errno, error.strerror) from error
        finally:
            self._syncing = None

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self._file)
