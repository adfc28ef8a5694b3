"""How `--help` and `-h` look: an example for each command, and long lists of options in groups."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from agentcontainer_local.cli import streams

if TYPE_CHECKING:
    from typer._click.core import Context  # typer.Context is a subclass, and not what the methods below are given

NAME_COLUMNS = 26  # a longer name has a line of its own, so that descriptions keep most of the width
OPTIONS = "Options"
# Typer has its own copy of click, and no public names for these.
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


class Command(TyperCommand):
    """`groups`: headings, each with the names of the options below it; the rest stands under `Options`."""

    groups: Mapping[str, Sequence[str]] = {}

    def collect_usage_pieces(self, ctx: "Context") -> list[str]:
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: "Context", formatter: Any) -> None:
        for heading, rows in sections(self, ctx).items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=NAME_COLUMNS)


def sections(command: TyperCommand, ctx: "Context") -> dict[str, list[tuple[str, str]]]:
    """Name and description of each parameter, below its heading."""
    headings = {name: heading for heading, names in getattr(command, "groups", {}).items() for name in names}
    found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Arguments", *headings.values(), OPTIONS)}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        if parameter.param_type_name == "argument":
            found["Arguments"].append((record[0].split(" <")[0], record[1]))
        else:
            found[headings.get(parameter.name, OPTIONS)].append(record)
    return {heading: rows for heading, rows in found.items() if rows}


class Group(TyperGroup):
    as_json = False

    def invoke(self, ctx: "Context") -> Any:
        """With --json, wrong use is told as other errors are."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            if not self.as_json:
                raise
            said = {"error": {"code": "wrong_use", "message": error.format_message()}}
            print(json.dumps(said, ensure_ascii=False), file=sys.stderr)
            raise typer.Exit(error.exit_code) from None

    def main(self, args: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        self.as_json = "--json" in (sys.argv[1:] if args is None else args)
        with streams.guarded():
            return super().main(args, *more, **named)


def examples(*lines: str) -> str:
    """What stands below a help, kept as it is."""
    return "\b\nExample:\n" + "\n".join(f"  agentcontainer {line}" for line in lines)


class App(typer.Typer):
    """A group of commands."""

    def __init__(self, about: str, epilog: str | None = None):
        super().__init__(
            no_args_is_help=True,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            cls=Group,
            help=about,
            epilog=epilog,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(  # type: ignore[override]  # one signature for all of ours: the rest of Typer's goes in `more`
        self, name: str | None = None, *, example: str | Sequence[str] = (), cls: type[Command] = Command, **more: Any
    ) -> Callable[..., Any]:
        lines = [example] if isinstance(example, str) else example
        return super().command(name, cls=cls, epilog=examples(*lines) if lines else None, **more)
