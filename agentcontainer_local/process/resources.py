"""Data files of the program."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parent


def path_of(name: str) -> Path:
    """`images` and `migrations.sql`: inside the package where it is installed, beside it in a checkout."""
    installed = PACKAGE / name
    return installed if installed.exists() else CHECKOUT / name
