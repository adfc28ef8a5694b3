"""Writes small files atomically."""

import os
from pathlib import Path


def write(path: Path, content: str | bytes, mode: int = 0o644, synced: bool = False) -> None:
    """Writes the file atomically. Only one process may write it at a time. A killed writer leaves the old content.

    `synced`: wait for the disk, so that the file is complete even after a loss of power. The content is not readable by
    others until the mode is set.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    part.chmod(mode)
    part.replace(path)
