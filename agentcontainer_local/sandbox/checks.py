"""Rows of the doctor's report. Backends and the doctor use them."""

import shutil
from pathlib import Path

from agentcontainer_local.schemas import Check

MIN_FREE_GB = 5
GB = 1000**3


def ok(name: str, detail: str) -> Check:
    return Check(name=name, status="ok", detail=detail)


def missing(name: str, detail: str, fix: str | None) -> Check:
    """Nothing works without it."""
    return Check(name=name, status="missing", detail=detail, fix=fix)


def warning(name: str, detail: str, fix: str | None) -> Check:
    """Something is missing that only some features need."""
    return Check(name=name, status="warning", detail=detail, fix=fix)


def disk(name: str, path: Path) -> Check:
    there = next(place for place in (path, *path.parents) if place.exists())
    free = shutil.disk_usage(there).free
    words = f"{free / GB:.1f} GB free at {path}"
    if free >= MIN_FREE_GB * GB:
        return ok(f"disk for {name}", words)
    return warning(f"disk for {name}", words, "podman image prune, or add disk space")
