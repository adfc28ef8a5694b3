"""The README, docs/ and .github/ name only what exists. Their commands are run by tests/system/test_readme.py."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from agentcontainer_local import lifecycle
from agentcontainer_local.cli import app, config
from agentcontainer_local.environment import variable
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.tasks import runs

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "agentcontainer_local"
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / ".github").glob("*.md")))
}
WORKFLOWS = {page.name: page.read_text() for page in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ARCHITECTURE = PAGES["docs/architecture.md"]


def sentences(page: str) -> str:
    return BLOCK.sub("", PAGES[page])


def section(text: str, heading: str) -> str:
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def anchors(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dev_commands() -> set[str]:
    usage = subprocess.run([ROOT / "dev"], capture_output=True, text=True).stderr
    return set(re.findall(r"^\./dev (\w+)", usage, re.MULTILINE))


def test_the_readme_has_at_most_150_lines():
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", sentences(page)):
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), (link, anchor)


def test_every_page_of_docs_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", PAGES["README.md"]))
    assert linked == {page for page in PAGES if page.startswith("docs/")}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists(page):
    for words in re.findall(r"`(agentcontainer [a-z][^`]*)`", sentences(page)):
        command = typer.main.get_command(app)
        _, *rest = shlex.split(words)
        while rest and (below := getattr(command, "commands", {}).get(rest[0])):
            command, rest = below, rest[1:]
        known = {"-h", "--help"} | {option for parameter in command.params for option in parameter.opts}
        assert command.name != "main" and {word for word in rest if word.startswith("-")} <= known, words


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_file_and_test_that_a_page_names_exists(page):
    known = {variable(name) for name in Settings.model_fields} | {*config.OTHERS, *config.SECRETS}
    sources = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    for text in sources.values():
        known.update(re.findall(r'environ\.get\("(\w+)"', text))
    assert set(re.findall(r"AGENTCONTAINER_[A-Z_]+", PAGES[page])) <= known
    now = re.sub(r"^(\|.*\|.*)\|.*\|$", r"\1", PAGES[page].partition("## Ten typical changes")[2], flags=re.MULTILINE)
    present = PAGES[page].partition("## Ten typical changes")[0] + now  # without the column "before"
    for path in re.findall(r"`((?:\.github|[a-z_]+)/[\w/.-]+)`", present):
        if path.split("/")[0] in {entry.name for folder in (ROOT, PACKAGE) for entry in folder.iterdir()}:
            assert "NAME" in path or (ROOT / path).exists() or (PACKAGE / path).exists(), path
    tests = "".join(sources.values())
    for name in re.findall(r"`(test_\w+)`", PAGES[page]):
        assert f"def {name}(" in tests, name


def test_every_dev_command_that_a_page_or_a_workflow_names_exists():
    named = {name for text in (*PAGES.values(), *WORKFLOWS.values()) for name in re.findall(r"\./dev ([a-z]+)", text)}
    assert named and named <= dev_commands(), named - dev_commands()


def test_the_table_of_exit_codes_is_that_of_the_command():
    from agentcontainer_local.cli.exits import Exit

    found = re.findall(r"^\| (\d+) \| (.+?) \|$", PAGES["docs/command-line.md"], re.MULTILINE)
    assert found == [(str(int(code)), code.meaning) for code in Exit]


# ---- the architecture page ----


def test_the_layers_are_the_folders_and_files_of_the_package():
    (_, tree), *_ = BLOCK.findall(section(ARCHITECTURE, "Layers"))
    named = re.findall(r"^  (\w+) ", tree, re.MULTILINE)
    assert all((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists() for name in named)
    folders = {entry.name for entry in PACKAGE.iterdir() if entry.is_dir() and (entry / "__init__.py").exists()}
    assert folders <= set(named), folders - set(named)


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("The states of a task", lifecycle.TABLE),
        ("The states of a run", {(at, event): to for (at, event), to in runs.TABLE.items() if at != to}),
    ],
)
def test_the_states_are_those_of_the_table(heading, table):
    states = section(ARCHITECTURE, heading)
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|$", states, re.MULTILINE)
    assert {(status, event): after for status, event, after in rows} == table
    arrows = re.findall(r"^    (\w+) --> (\w+): (.+)$", states, re.MULTILINE)
    drawn = {(status, event): after for status, after, events in arrows for event in events.split(", ")}
    assert drawn == table


def test_each_table_of_the_store_has_its_writers():
    tables = set(re.findall(r"CREATE TABLE (\w+)", (ROOT / "migrations.sql").read_text()))
    assert tables == set(re.findall(r"^\| `(\w+)` \| ", section(ARCHITECTURE, "Who writes which table"), re.MULTILINE))


# ---- the workflows ----


def steps(workflow: str) -> dict[str, str]:
    """Name and script of each step that runs one."""
    (job,) = yaml.safe_load(WORKFLOWS[workflow])["jobs"].values()
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def test_continuous_integration_checks_and_tests_on_two_versions_of_python():
    (job,) = yaml.safe_load(WORKFLOWS["test.yml"])["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"] and job["runs-on"] == "ubuntu-24.04"
    assert {"./dev check", "./dev test"} <= set(steps("test.yml").values())


@pytest.mark.parametrize(("tag", "code"), [("v0.2.0", 0), ("v0.1.0", 1), ("v9.9.9", 1)])
def test_the_notes_of_a_release_are_its_section_of_the_changelog(tmp_path: Path, tag: str, code: int):
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changes\n\n## Unreleased\n\n- c\n\n## 0.2.0 (2026-12-01)\n\n- b\n\n## 0.1.0\n"
    )
    script = steps("release.yml")["Take the notes from the changelog"]
    environ = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag}
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    if code == 0:
        assert (tmp_path / "notes.md").read_text().strip() == "- b"


def test_a_release_needs_a_tag_of_this_version():
    from agentcontainer_local import __version__

    for tag, code in ((f"v{__version__}", 0), ("v0.0.0", 1)):
        script, environ = steps("release.yml")["Compare the tag with the version"], {"PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=ROOT, env={**environ, "GITHUB_REF_NAME": tag}, capture_output=True
        )
        assert done.returncode == code
