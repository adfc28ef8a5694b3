"""Ids of rows, and API keys: random, so that nobody guesses one."""

import base64
import secrets

# An id is a row's public name: 119 bits, lower case, without vowels and look-alikes, so that it spells nothing.
ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
ID_LENGTH = 25
UNFAIR = bytes(range(256 // len(ALPHABET) * len(ALPHABET), 256))  # these would make some letters likelier
LETTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
KEY_BYTES = 24


class Ids:
    """A store's source of them. Where all tests of a suite shall see the same ids, another class overrides `_bytes`."""

    def new(self, prefix: str, of: str = "") -> str:
        """`of`: the id of what the row belongs to, where it belongs to one."""
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
