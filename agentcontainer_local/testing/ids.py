"""Ids that come out the same in each run of a test suite."""

import hashlib
from collections import Counter

from agentcontainer_local.store.ids import Ids

STORE = "str"


class SeededIds(Ids):
    """The n-th id of a kind, of what it belongs to, depends on the seed alone: what else goes on at the same time
    changes nothing."""

    def __init__(self, seed: int | str):
        self._seed = str(seed)
        self._made: Counter[tuple[str, str]] = Counter()

    def _bytes(self, number: int, prefix: str, of: str) -> bytes:
        if prefix == STORE:  # in no answer, and no two stores may have the same
            return super()._bytes(number, prefix, of)
        self._made[prefix, of] += 1
        text = "\n".join((self._seed, prefix, of, str(self._made[prefix, of])))
        return hashlib.shake_256(text.encode()).digest(number)
