"""Idempotency keys: a repeated request has no second effect, and gets the first answer."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import Response

from agentcontainer_local.errors import BadRequest, Conflict, IdempotencyConflict
from agentcontainer_local.store.db import Database, iso, row

KEPT = timedelta(hours=24)
LONGEST = 255


def once(
    db: Database,
    account_id: str,
    path: str,
    key: str,
    body: bytes,
    now: datetime,
    act: Callable[[], Response],
    secret: bool = False,
) -> Response:
    """Runs `act` once per key. Call it inside a transaction, so that the effect of `act` and its answer are stored
    together.

    Then a second request finds both or none, even if it is concurrent or comes after a crash. An exception of `act` is
    not stored. A `secret` answer is not stored either: the second request then has no effect, and raises Conflict.
    """
    if not 1 <= len(key) <= LONGEST:
        raise BadRequest(f"An Idempotency-Key has 1 to {LONGEST} characters.")
    digest = hashlib.sha256(body).hexdigest()
    db.conn.execute("DELETE FROM idempotency_keys WHERE created_at < ?", (iso(now - KEPT),))
    kept = row(
        db,
        "SELECT body_hash, status, answer FROM idempotency_keys WHERE account_id = ? AND path = ? AND key = ?",
        (account_id, path, key),
    )
    if kept is not None:
        return _again(kept, digest)
    response = act()
    answer = "" if secret else bytes(response.body).decode()
    db.conn.execute(
        "INSERT INTO idempotency_keys (account_id, path, key, body_hash, status, answer, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (account_id, path, key, digest, response.status_code, answer, iso(now)),
    )
    return response


def _again(kept: dict[str, Any], digest: str) -> Response:
    if kept["body_hash"] != digest:
        raise IdempotencyConflict("This Idempotency-Key was used with another request body. Use a new key.")
    if not kept["answer"]:
        raise Conflict(
            "The request with this Idempotency-Key was already done. Its answer contained a secret, which is"
            " not kept. If you lost it, delete the new object, and repeat with a new Idempotency-Key."
        )
    return Response(kept["answer"], kept["status"], {"idempotency-replayed": "true"}, "application/json")
