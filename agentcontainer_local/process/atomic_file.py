"""Small files that are whole at any moment: as they were, or as they are now."""

import os
from pathlib import Path


def write(path: Path, content: str | bytes, mode: int = 0o644, synced: bool = False) -> None:
    """For one writer at a time. A writer that is killed leaves the file as it was.

    `synced`: not even a loss of power leaves it empty. Nobody else can read it before it has its mode.
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
