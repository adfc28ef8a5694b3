"""The command as in a shell, and the real API without an engine behind it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentcontainer_local.cli import app
from tests.conftest import KEY
from tests.live import Live


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as live:
        yield live


@pytest.fixture
def cli(live: Live, tmp_path: Path, monkeypatch) -> Callable[..., Result]:
    """Calls the command as in a shell whose variables name the server."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AGENTCONTAINER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AGENTCONTAINER_URL", live.url)
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", KEY)

    def call(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, words, input=stdin)
        assert result.exit_code == code, (result.exception, result.output)
        return result

    return call
