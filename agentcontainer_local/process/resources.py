"""Data files of the program."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parent


def path_of(name: str) -> Path:
    """The path of `images` or `migrations.sql`: inside the installed package, or beside it in a checkout."""
    installed = PACKAGE / name
    return installed if installed.exists() else CHECKOUT / name
