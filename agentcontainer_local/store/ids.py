"""Ids of rows, and API keys. They are random, so that nobody can guess one."""

import base64
import secrets

# An id is a row's public name: 119 random bits in lower-case letters, without vowels and look-alikes, so that no words
# appear.
ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
ID_LENGTH = 25
# dropped, because these values would make some letters more frequent
UNFAIR = bytes(range(256 // len(ALPHABET) * len(ALPHABET), 256))
LETTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
KEY_BYTES = 24


class Ids:
    """The source of a store's ids. Tests that need repeatable ids override `_bytes`."""

    def new(self, prefix: str, of: str = "") -> str:
        """A new id. `of`: the id of the row that the new row belongs to, if any."""
        letters = b""
        while len(letters) < ID_LENGTH:
            letters += self._bytes(2 * ID_LENGTH, prefix, of).translate(LETTERS, UNFAIR)
        return f"{prefix}_{letters[:ID_LENGTH].decode()}"

    def new_key(self) -> str:
        """An API key."""
        return "ac_live_" + base64.urlsafe_b64encode(self._bytes(KEY_BYTES, "ac_live", "")).decode()

    def _bytes(self, number: int, prefix: str, of: str) -> bytes:
        return secrets.token_bytes(number)


RANDOM = Ids()
