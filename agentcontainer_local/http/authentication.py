"""Authentication: the account of the API key in a request."""

import hashlib
import hmac
from datetime import datetime

from starlette.requests import Request
from starlette.types import Scope

from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import Forbidden, Unauthorized
from agentcontainer_local.store import accounts
from agentcontainer_local.store.db import Database, Row, iso


class Authentication:
    """Remembers whose a key is for as long as nothing is written to the tables that say it, whoever writes it here.

    So a key that is revoked is useless at once, and a client that polls costs no lookup (measured: a fifth of a GET).
    No other process writes while we serve: the data directory is locked.
    """

    def __init__(self, host: Host):
        self._host = host
        self._watched: Database | None = None
        self._known: dict[bytes, Row] = {}

    def account(self, request: Request, key_in_query: bool, scope: str = "all") -> Row:
        """Raises Unauthorized, or Forbidden where the key is for something else than `scope`. A key for all is for
        each."""
        key = _key(request, key_in_query)
        mark = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).digest()  # at half the price of `key_hash`
        self._watch()
        now = self._host.now()  # first: where the clock was set, this moves the date at which a key expires
        account = self._known.get(mark) or self._found(accounts.key_hash(key))
        if account is None or _expired(account, now):
            raise Unauthorized()
        self._known[mark] = account
        if account.get("key_scope", "all") not in ("all", scope):
            raise Forbidden(f"This API key is only for {account['key_scope']}. Use a key without a scope.")
        return account

    def _watch(self) -> None:
        db = self._host.db
        if self._watched is not db:
            self._watched = db
            self._known.clear()
            db.at_each_write(("accounts", "api_keys"), self._known.clear)

    def _found(self, digest: bytes) -> Row | None:
        """The owner's key is in no store: it ends with this server."""
        if hmac.compare_digest(digest, self._host.owners_key_hash):
            return accounts.only(self._host.db)
        return accounts.authenticated(self._host.db, digest)


def _expired(account: Row, now: datetime) -> bool:
    until = account.get("key_expires_at")
    return until is not None and until <= iso(now)


def authorization(scope: Scope) -> bytes | None:
    """What the request has as Authorization."""
    return next((value for name, value in scope["headers"] if name == b"authorization"), None)


def _key(request: Request, key_in_query: bool) -> str:
    scheme, _, key = (authorization(request.scope) or b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return request.query_params.get("apiKey", "") if key_in_query else ""
