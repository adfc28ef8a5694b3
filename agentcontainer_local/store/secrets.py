"""secret.key: encrypts provider keys and signs upload URLs."""

import base64
import hashlib
import hmac
import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from agentcontainer_local.process import atomic_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vault:
    _fernet: Fernet
    _signing_key: bytes

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """Reads the key at `path`. If there is none, or it is damaged, creates a new one with mode 0600.

        Secrets that were encrypted with another key can't be read any more: `unseal` returns None for them.
        """
        vault, reason = cls.read(path)
        if vault is not None:
            return vault
        if path.exists():
            names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
            aside = next(name for name in names if not name.exists())
            path.rename(aside)
            log.error("%s %s. It was renamed to %s, and a new key was made", path, reason, aside.name)
        # synced, because a lost key would make everything that it encrypted unreadable
        atomic_file.write(path, Fernet.generate_key(), 0o600, synced=True)
        vault, reason = cls.read(path)
        if vault is None:
            raise RuntimeError(f"{path} {reason}, although it was just written.")
        return vault

    @classmethod
    def read(cls, path: Path) -> "tuple[Vault | None, str | None]":
        """The vault, or the reason why there is none."""
        try:
            key = path.read_bytes().strip()
        except FileNotFoundError:
            return None, "is missing"
        except OSError as error:
            return None, f"can't be read ({error.strerror})"
        try:
            return cls(Fernet(key), hashlib.sha256(b"sign" + base64.urlsafe_b64decode(key)).digest()), None
        except ValueError:
            return None, "contains an incomplete key" if key else "is empty"

    def seal(self, secret: str) -> bytes:
        return self._fernet.encrypt(secret.encode())

    def unseal(self, sealed: bytes) -> str | None:
        """The secret. None if it was encrypted with another key."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            return None

    def sign(self, text: str) -> str:
        digest = hmac.new(self._signing_key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def signed(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())
