"""Clients that others generate from our document: a strict type checker takes them, and they do the main job."""

import json
import shutil
from pathlib import Path

import pytest

from tests.system.conftest import Server, own_server, server  # noqa: F401
from tests.system.generated.environment import HERE, made, run

# The first time the environment is made, which may take minutes.
pytestmark = pytest.mark.timeout(900)

INSTRUCTIONS = """Add up the numbers.

```bash
awk 'NR > 1 { sum += $1 } END { print sum }' task_files/numbers.csv > sum.txt
```
```finish
--complete-task --message "Added" sum.txt
```
"""
PYTHON = {
    "attrs_client.py": [
        "openapi-python-client",
        "generate",
        "--path",
        "openapi.json",
        "--meta",
        "none",
        "--config",
        "openapi-python-client.yaml",
        "--output-path",
        "agent_container_api_client",
    ],
    "pydantic_client.py": [
        "datamodel-codegen",
        "--input",
        "openapi.json",
        "--input-file-type",
        "openapi",
        "--output",
        "models.py",
        "--output-model-type",
        "pydantic_v2.BaseModel",
        "--snake-case-field",
        "--use-annotated",
        "--allow-population-by-field-name",
        "--formatters",
        "builtin",
    ],
}
TYPESCRIPT = {
    "fetch.ts": ["openapi-typescript", "openapi.json", "-o", "schema.ts"],
    "hey.ts": ["openapi-ts"],
}


@pytest.fixture(scope="session")
def place() -> Path:
    return made()


@pytest.fixture
def folder(place: Path, server: Server, tmp_path: Path) -> Path:  # noqa: F811
    """With the served document, and what the TypeScript programs import."""
    for kind in ("json", "yaml"):
        (tmp_path / f"openapi.{kind}").write_bytes(server.client.get(f"/api/v1/openapi.{kind}").content)
    (tmp_path / "node_modules").symlink_to(place / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def on(server: Server) -> dict[str, str]:  # noqa: F811
    return {"BASE_URL": server.url, "KEY": server.key, "INSTRUCTIONS": INSTRUCTIONS}


@pytest.mark.parametrize("program", PYTHON)
def test_a_python_client_is_strictly_typed_and_does_the_main_job(place, folder, server, program):  # noqa: F811
    for name in (program, "openapi-python-client.yaml"):
        shutil.copy(HERE / "programs" / name, folder)
    run(PYTHON[program], folder, place)
    run(["mypy", "--strict", program], folder, place)
    assert run([place / "venv" / "bin" / "python", program], folder, place, **on(server)) == "6\n"


@pytest.mark.parametrize("program", TYPESCRIPT)
def test_a_typescript_client_is_strictly_typed_and_does_the_main_job(place, folder, server, program):  # noqa: F811
    for name in (program, "tsconfig.json", "openapi-ts.config.js"):
        shutil.copy(HERE / "programs" / name, folder)
    run(TYPESCRIPT[program], folder, place)
    run(["tsc", "-p", "."], folder, place)
    assert run(["node", f"out/{program.removesuffix('.ts')}.js"], folder, place, **on(server)) == "6\n"


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_linter_finds_nothing_by_its_recommended_rules(place: Path, folder: Path, kind):
    found = run(
        ["redocly", "lint", "--extends=recommended", "--format=json", f"openapi.{kind}"],
        folder,
        place,
        REDOCLY_TELEMETRY="off",
        REDOCLY_SUPPRESS_UPDATE_NOTICE="true",
    )
    report = json.loads(found[found.index("{") : found.rindex("}") + 1])
    assert report["problems"] == [] and set(report["totals"].values()) == {0}, report
