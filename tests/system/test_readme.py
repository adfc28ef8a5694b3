"""What the README says one can type is typed here."""

import os
import re
import subprocess
from pathlib import Path

from tests.system.conftest import Server

README = Path(__file__).parents[2] / "README.md"


def test_the_walk_with_curl_works_as_written(server: Server, tmp_path: Path):
    walk = re.search(r"<!-- walk: begin.*?-->\n```bash\n(.*?)```\n<!-- walk: end -->", README.read_text(), re.DOTALL)[1]
    environ = {**os.environ, "AGENTCONTAINER_URL": server.url, "AGENTCONTAINER_API_KEY": server.key}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", walk], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "event: activity.started" in done.stdout
    assert done.stdout.rstrip().endswith("finished\n6")
    assert (tmp_path / "sum.txt").read_text() == "6\n"


def test_every_variable_and_path_that_the_readme_names_is_there():
    text = README.read_text()
    from agentcontainer_local.settings import Settings, variable

    known = {variable(name) for name in Settings.model_fields} | {
        "AGENTCONTAINER_API_KEY", "AGENTCONTAINER_URL",
        *(f"AGENTCONTAINER_{name}_BASE_URL" for name in ("ANTHROPIC", "OPENAI", "OPENROUTER")),
    }
    assert set(re.findall(r"AGENTCONTAINER_[A-Z_]+", text)) <= known
    for path in re.findall(r"`((?:images|tests|agentcontainer_local|api|guest|tasks)/[\w/.]+)`", text):
        assert (README.parent / path).exists() or (README.parent / "agentcontainer_local" / path).exists(), path
