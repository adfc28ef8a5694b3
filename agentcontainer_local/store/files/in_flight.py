"""Uploads in progress. They count towards the account's quota before they have rows."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agentcontainer_local.settings import Settings
from agentcontainer_local.store import accounts
from agentcontainer_local.store.db import Database


class Arriving:
    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()  # by account

    @contextmanager
    def counting(self, db: Database, account_id: str, settings: Settings) -> Iterator[Callable[[int], None]]:
        """Yields a function that must be called with the size of each piece before it is written. It raises TooLarge if
        the quota would be exceeded.

        The bytes count here until the context is left. Then they are in a row, or removed.
        """
        mine = 0

        def count(size: int) -> None:
            nonlocal mine
            accounts.check_file_quota(db, account_id, self._bytes[account_id] + size, settings)
            mine += size
            self._bytes[account_id] += size

        try:
            yield count
        finally:
            self._bytes -= Counter({account_id: mine})
