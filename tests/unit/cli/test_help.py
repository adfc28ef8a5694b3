"""What `--help` and `-h` show, and that what they show works."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from agentcontainer_local.cli import app
from agentcontainer_local.cli.serve import Command as Serve
from agentcontainer_local.settings import Settings


def commands(group=None, path=()):
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if getattr(command, "commands", None):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
EXAMPLE = re.compile(r"^ +agentcontainer (.+)$", re.M)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_has_an_example_that_it_understands(cli, path):
    shown = cli(*path, "-h").stdout
    assert shown == cli(*path, "--help").stdout
    Path("backup.tar.gz").touch()
    found = EXAMPLE.findall(shown.partition("Example:")[2])
    assert found
    for line in found:
        words = shlex.split(line.partition(" < ")[0])
        assert tuple(words[: len(path)]) == path
        COMMANDS[path].make_context("example", words[len(path) :])  # raises where an option or argument is wrong


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_help_fits_a_terminal_and_has_no_words_of_pythons(cli, path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli(*path, "-h").stdout
    assert not re.search(r"<\w+[\[>]|\blist\[|\{", shown)
    assert max(map(len, shown.splitlines())) <= 88  # an example may be a little longer
    summary = shown.split("\n\n")[1].strip()
    assert summary.endswith(".") and not re.match(r"(What|Who|That|One|Whether)\b", summary)


def test_every_setting_of_serve_stands_in_a_group(cli):
    grouped = [name for names in Serve.groups.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)
    shown = cli("serve", "-h").stdout
    assert all(f"{heading}:\n" in shown for heading in Serve.groups)


def test_descriptions_have_most_of_the_width(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for line in cli("serve", "-h").stdout.splitlines():
        begins = re.match(r"^ {3,}(?=\S)|^  --\S+(?: \S+)? {2,}(?=\S)", line)
        assert not begins or len(begins[0]) <= 30, line
