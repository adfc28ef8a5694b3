"""The report: checks made now, and this account's last proof, which is kept in its cache."""

import contextlib
from datetime import datetime
from pathlib import Path

from agentcontainer_local.doctor.checks import examine
from agentcontainer_local.process import atomic_file
from agentcontainer_local.schemas import Check, Doctor, Proof, WallCheck, WallFigures
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.db import iso


def report(settings: Settings, root: bool = False) -> Doctor:
    """Blocks for a moment, so call it in a thread. `root`: root asked for the account's report."""
    return of(settings, examine(settings, root))


def of(settings: Settings, found: list[Check]) -> Doctor:
    return Doctor(ready=all(check.status != "missing" for check in found), checks=found, proof=last_proof(settings))


def write_proof(settings: Settings, promises: list[WallCheck], now: datetime) -> Proof:
    proof = Proof(at=iso(now), promises=promises)
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(path, proof.model_dump_json(by_alias=True))
    return proof


def last_proof(settings: Settings) -> Proof | None:
    """The last proof; None if there is none, or if another version wrote it."""
    with contextlib.suppress(OSError, ValueError):
        return Proof.model_validate_json(_path(settings).read_text())
    return None


def figures(settings: Settings) -> WallFigures | None:
    proof = last_proof(settings)
    if proof is None:
        return None
    statuses = [promise.status for promise in proof.promises]
    return WallFigures(
        proved_at=proof.at,
        enforced=statuses.count("enforced"),
        not_enforced=statuses.count("not_enforced"),
        unavailable=statuses.count("unavailable"),
    )


def _path(settings: Settings) -> Path:
    return settings.cache / "walls.json"
