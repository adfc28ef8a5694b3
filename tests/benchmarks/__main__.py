"""`./dev bench [--long] [NAME…]`: runs the benchmarks and prints their figures; the machine is part of the result."""

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys

import platformdirs
from rich.console import Console
from rich.table import Table

from tests import benchmarks
from tests.benchmarks.figures import Figure

NOT_BENCHMARKS = {"__main__", "figures", "peer_swe_rex"}
ONLY_BY_NAME = {"real_model"}  # it builds a model server first


def main() -> int:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in NOT_BENCHMARKS]
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    every = [name for name in names if name not in ONLY_BY_NAME]
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        type=lambda name: name.replace("-", "_"),
        help=f"{', '.join(names)}; without a name, all but {', '.join(ONLY_BY_NAME)}",
    )
    parser.add_argument("--long", action="store_true", help="more rounds, and what takes long")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each figure")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    as_installed()
    for name in asked.names or every:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        figures = importlib.import_module(f"tests.benchmarks.{name}").run(asked.long)
        show(name, figures, asked.json)
    return 0


def as_installed() -> None:
    """Servers that are started find their bytecode, as an installed program does; a clone may be somebody else's."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", platformdirs.user_cache_dir("agentcontainer-dev/bytecode"))


def show(name: str, figures: list[Figure], as_json: bool) -> None:
    if as_json:
        for figure in figures:
            print(json.dumps({"benchmark": name, **figure.__dict__}))
        return
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"
    table = Table("figure", "min", "median", "max", "unit", "aim", title=f"{name} ({machine})", title_justify="left")
    for figure in figures:
        if not figure.rounds:  # its name says why
            table.add_row(figure.name)
            continue
        low, middle, high = figure.spread()
        table.add_row(figure.name, f"{low:.3g}", f"{middle:.3g}", f"{high:.3g}", figure.unit, figure.aim or "")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    sys.exit(main())
