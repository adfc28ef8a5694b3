"""The table of a run: what was tried, whether it passed, and what was seen."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.vm.machine import Failed


@dataclass(frozen=True)
class Row:
    name: str
    passed: bool
    seen: str


class Rows:
    def __init__(self, only: str | None):
        self.only = only
        self.rows: list[Row] = []

    def wants(self, name: str) -> bool:
        return not self.only or self.only in name

    def row(self, name: str, check: Callable[[], str], needed: bool = False) -> None:
        """`check` answers what it saw; a row that fails does not stop the rest. `needed`: the others rest on it."""
        if not needed and not self.wants(name):
            return
        began = time.monotonic()
        try:
            row = Row(name, True, check())
        except (Failed, httpx.HTTPError, IndexError) as error:
            row = Row(name, False, " ".join(str(error).split())[:400])
        self._add(row, time.monotonic() - began)

    def stopped(self, error: Exception) -> None:
        """What stands between the rows has failed: those that would have followed are left out."""
        self._add(Row("the rest of the scenario", False, " ".join(str(error).split())[:400]), 0)

    def _add(self, row: Row, seconds: float) -> None:
        self.rows.append(row)
        print(f"vm: {seconds:4.0f} s  {_result(row)}", file=sys.stderr, flush=True)

    def failed(self) -> int:
        return sum(not row.passed for row in self.rows)

    def markdown(self) -> str:
        lines = [f"| {row.name} | {'passed' if row.passed else 'FAILED'}: {row.seen} |" for row in self.rows]
        return "\n".join(["| what | result |", "|---|---|", *lines])


def _result(row: Row) -> str:
    return f"{'passed' if row.passed else 'FAILED'}  {row.name}: {row.seen}"
