"""The table of a run: what was tried, whether it held, and what was seen."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.vm.machine import Failed


@dataclass(frozen=True)
class Row:
    name: str
    held: bool
    seen: str


class Rows:
    def __init__(self, only: str | None):
        self.only = only
        self.rows: list[Row] = []

    def wants(self, name: str) -> bool:
        return not self.only or self.only in name

    def row(self, name: str, check: Callable[[], str]) -> None:
        """`check` answers what it saw; a row that fails does not stop the rest."""
        if not self.wants(name):
            return
        began = time.monotonic()
        try:
            row = Row(name, True, check())
        except (Failed, httpx.HTTPError, IndexError) as error:
            row = Row(name, False, " ".join(str(error).split())[:400])
        self.rows.append(row)
        print(f"vm: {time.monotonic() - began:4.0f} s  {_result(row)}", file=sys.stderr, flush=True)

    def failed(self) -> int:
        return sum(not row.held for row in self.rows)

    def markdown(self) -> str:
        lines = [f"| {row.name} | {'held' if row.held else 'FAILED'}: {row.seen} |" for row in self.rows]
        return "\n".join(["| what | result |", "|---|---|", *lines])


def _result(row: Row) -> str:
    return f"{'held  ' if row.held else 'FAILED'}  {row.name}: {row.seen}"
