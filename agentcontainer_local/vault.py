"""secret.key: provider keys are encrypted with it, upload URLs are signed with it."""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken


@dataclass(frozen=True)
class Vault:
    _fernet: Fernet
    _signing_key: bytes

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """Reads the key at `path` (mode 0600), and makes it first where there is none."""
        if not path.exists():
            _write_new(path, Fernet.generate_key())
        key = path.read_bytes().strip()
        return cls(Fernet(key), hashlib.sha256(b"sign" + base64.urlsafe_b64decode(key)).digest())

    def seal(self, secret: str) -> bytes:
        return self._fernet.encrypt(secret.encode())

    def unseal(self, sealed: bytes) -> str:
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise RuntimeError("secret.key is not the one that this data directory was written with.") from None

    def sign(self, text: str) -> str:
        digest = hmac.new(self._signing_key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def signed(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())


def _write_new(path: Path, key: bytes) -> None:
    """Whole or not at all: a key half-written would lock away everything that is sealed with it later."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
