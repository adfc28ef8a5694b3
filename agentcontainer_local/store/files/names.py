"""File names that are safe and unique within a directory."""

MAX_NAME_BYTES = 255  # limit of Linux file systems


def safe_name(filename: str) -> str:
    """The name, made safe for a directory: no slashes, no NUL or control characters, at most 255 bytes."""
    kept = "".join("_" if c in "/\\" or ord(c) < 32 or ord(c) == 127 else c for c in filename).strip()
    if kept in ("", ".", ".."):
        return "file"
    stem, dot, extension = kept.rpartition(".")
    ending = f"{dot}{extension}" if stem and len(extension.encode()) < 32 else ""
    return _clipped(kept.removesuffix(ending), MAX_NAME_BYTES - 8 - len(ending.encode())) + ending


def _clipped(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def free_name(name: str, taken: dict[str, int]) -> str:
    """The name, or `report-2.csv` and so on if `report.csv` is taken. `taken`: names, with the last number used."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    count, free = taken.get(name, 1), name
    while free in taken:
        count += 1
        free = f"{stem}-{count}{dot}{extension}"
    taken[name], taken[free] = count, taken.get(free, 1)
    return free
