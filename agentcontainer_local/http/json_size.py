"""Counts the values of a JSON text without parsing it, because each value costs memory and time.

It works in pieces, so that a thread that runs it does not block others.
"""

import re

PIECE_BYTES = 16 * 1024
TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
REST_OF_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
SIGNS = (b",", b"[", b"{")  # each value except the first has one of these before it


def has_more_values(json: bytes, most: int) -> bool:
    """Whether the JSON text has more than `most` values. Any result is possible for invalid JSON."""
    if _signs(json, most) <= most:  # counts the signs in texts too, which is faster and often sufficient
        return False
    count, at, within = 0, 0, False
    while at < len(json) and count <= most:
        piece = _whole_escapes(json[at : at + PIECE_BYTES])
        bare, within = _without_texts(piece, within)
        count += sum(map(bare.count, SIGNS))
        at += len(piece)
    return count > most


def _signs(json: bytes, most: int) -> int:
    count, at = 0, 0
    while at < len(json) and count <= most:
        count += sum(json.count(sign, at, at + 16 * PIECE_BYTES) for sign in SIGNS)
        at += 16 * PIECE_BYTES
    return count


def _whole_escapes(piece: bytes) -> bytes:
    odd = (len(piece) - len(piece.rstrip(b"\\"))) % 2 and len(piece) > 1
    return piece[:-1] if odd else piece


def _without_texts(piece: bytes, within: bool) -> tuple[bytes, bool]:
    """The piece without texts. `within`: it begins inside a text. Also returns whether it ends inside one."""
    if within:
        end = REST_OF_TEXT.match(piece)
        if end is None:
            return b"", True
        piece = piece[end.end() :]
    bare = TEXT.sub(b"", piece)
    begins = bare.find(b'"')
    return (bare, False) if begins < 0 else (bare[:begins], True)
