"""Small files that whoever reads them finds whole: as they were, or as they are now."""

from pathlib import Path


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """For one writer at a time; one that is killed leaves it as it was. A loss of power may take it."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.chmod(mode)
    part.replace(path)
