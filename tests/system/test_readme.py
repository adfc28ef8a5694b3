"""What the README says one can type is typed here: each of its blocks has a test, and a block without one fails."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer

from agentcontainer_local import images
from agentcontainer_local.cli import app
from agentcontainer_local.settings import Settings, variable
from tests import fake_provider
from tests.guest_runtime.conftest import free_port
from tests.system.conftest import Server, podman, podman_things, serving
from tests.system.test_main_job import bash

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBERS = "1\n2\n3\n"


def sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each heading, with its blocks: language and text."""
    for part in re.split(r"^## ", README, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        yield heading, BLOCK.findall(text)


BLOCKS = {(heading, at): block for heading, blocks in sections() for at, block in enumerate(blocks)}
# What runs each of them. `./dev test` would run itself; that `./dev` sets up, and runs what it says, is in test_dev.
TESTED = {
    ("Two commands", 0): "test_the_demo_brings_a_chart",
    ("A walk with curl", 0): "test_a_server_starts_as_written",
    ("A walk with curl", 1): "test_the_walk_with_curl_works_as_written",
    ("The command line", 0): "test_the_commands_work_as_written",
    ("From Python", 0): "test_the_python_program_works_as_written",
    ("In place of the hosted service, in tests", 0): "test_a_server_for_tests_works_as_written",
    ("Your own image", 0): "test_an_image_of_ones_own_works_as_written",
    ("A real provider", 0): "test_a_provider_works_as_written",
    ("A model of your own", 0): "test_a_local_model_works_as_written",
    ("As a service", 0): "test_the_service_is_shown_as_written",
    ("Where things are; backup, upgrade, removal", 0): "test_backup_and_restore_work_as_written",
    ("Where things are; backup, upgrade, removal", 1): "test_nothing_is_left_when_it_is_removed_as_written",
    ("One file, or a wheel", 0): "test_the_executable_works_as_written",
}


def test_every_block_that_can_be_typed_has_a_test():
    assert {key for key, (language, _) in BLOCKS.items() if language != "text"} == set(TESTED)
    assert all(callable(globals()[name]) for name in TESTED.values())


def environ(server: Server | None = None, **more: str) -> dict[str, str]:
    """With `agentcontainer` on PATH, as in `./dev exec`, and the server that is meant."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTCONTAINER_")}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    named = {"AGENTCONTAINER_URL": server.url, "AGENTCONTAINER_API_KEY": server.key,
             "AGENTCONTAINER_DATA": str(server.data)} if server else {}
    return {**kept, "PATH": path, **named, **more}


def typed(key: tuple[str, int], env: dict[str, str], cwd: Path, instead: dict[str, str] | None = None) -> str:
    """A block as a shell runs it, with other words where this machine has no registry, root or vendor."""
    _, text = BLOCKS[key]
    for old, new in (instead or {}).items():
        assert old in text
        text = text.replace(old, new)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=cwd, env=env, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_demo_brings_a_chart(tmp_path: Path):
    assert "./dev demo " in BLOCKS["Two commands", 0][1]
    env = {name: value for name, value in environ(TMPDIR=str(tmp_path)).items() if not name.endswith("_API_KEY")}
    done = subprocess.run([sys.executable, ROOT / "tests" / "demo.py"], cwd=tmp_path, env=env, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    (chart,) = tmp_path.glob("agentcontainer-demo-*/chart.png")
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_a_server_starts_as_written(tmp_path: Path):
    env = environ(AGENTCONTAINER_PORT="0", AGENTCONTAINER_DATA=str(tmp_path / "data"))
    command = ["bash", "-euo", "pipefail", "-c", BLOCKS["A walk with curl", 0][1]]
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          start_new_session=True) as server:
        try:
            url = next(line for line in server.stdout if "is ready at" in line).split("is ready at ")[1].split()[0]
            assert httpx.get(f"{url}/healthz", trust_env=False).text == "ok\n"
        finally:
            os.killpg(server.pid, signal.SIGINT)
        assert re.match(f"Page: {url}/ .*\nTry: curl -H", server.stdout.read())


def test_the_walk_with_curl_works_as_written(server: Server, tmp_path: Path):
    said = typed(("A walk with curl", 1), environ(server), tmp_path)
    assert "event: activity.started" in said
    assert said.rstrip().endswith("finished\n6")
    assert (tmp_path / "sum.txt").read_text() == "6\n"


def test_the_commands_work_as_written(own_server: Server, tmp_path: Path):
    said = typed(("The command line", 0), environ(own_server), tmp_path)
    assert "\nHello\n" in said and "agt_standard_data" in said and '"billingMode"' in said
    assert len(own_server.get("/tasks")["data"]) == 3


def test_the_python_program_works_as_written(server: Server, tmp_path: Path):
    (tmp_path / "numbers.csv").write_text(NUMBERS)
    language, program = BLOCKS["From Python", 0]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ(server), capture_output=True,
                          text=True, timeout=120)
    assert (language, done.stdout) == ("python", "finished Done\n"), done.stderr


def test_a_server_for_tests_works_as_written(tmp_path: Path):
    port = str(free_port())
    env = environ(AGENTCONTAINER_PORT=port, TMPDIR=str(tmp_path))
    said = typed(("In place of the hosted service, in tests", 0), env, tmp_path, {":3000": f":{port}"})
    assert (tmp_path / "out" / "sum.txt").read_text() == "6\n"
    assert said.count("is ready at") == 1 and "Six\n" in said and "Half of it\n" in said


def test_an_image_of_ones_own_works_as_written(server: Server, tmp_path: Path):
    """On the base that this machine has: a registry may be out of reach."""
    server.run("Nothing.")                      # from here on there is one
    here = podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    base = next(name for name in (images.REGISTRY_BASE, images.made_base()) if name in here)
    try:
        said = typed(("Your own image", 0), environ(server), tmp_path, {images.REGISTRY_BASE: base})
        assert "hello from my image" in said
    finally:
        podman("rmi", "--force", "localhost/mine:1")


@pytest.fixture
def vendor(provider: fake_provider.FakeProvider, tmp_path: Path) -> Iterator[tuple[fake_provider.FakeProvider, Server]]:
    """A provider that speaks as the vendors do, and a server that has no key for it yet."""
    provider.plan(fake_provider.bash("echo Steel and sea > poem.txt"),
                  fake_provider.bash('finish --complete-task --message "Done" poem.txt'))
    urls = {name: value for name, value in provider.environ().items() if name.endswith("_BASE_URL")}
    with serving(tmp_path / "data", **urls, **dict.fromkeys(set(provider.environ()) - set(urls), "")) as server:
        yield provider, server


def test_a_provider_works_as_written(vendor, tmp_path: Path):
    provider, server = vendor
    (tmp_path / "key.txt").write_text("sk-of-the-file\n")
    typed(("A real provider", 0), environ(server), tmp_path)
    assert (tmp_path / "poems" / "poem.txt").read_text() == "Steel and sea\n"
    assert {seen.header("x-api-key") for seen in provider.seen} == {"sk-of-the-file"}


def test_a_local_model_works_as_written(vendor, tmp_path: Path):
    provider, server = vendor
    here = {"http://127.0.0.1:11434/v1": provider.environ()["AGENTCONTAINER_OPENAI_BASE_URL"]}
    typed(("A model of your own", 0), environ(server), tmp_path, here)
    assert (tmp_path / "poems" / "poem.txt").read_text() == "Steel and sea\n"
    assert {(seen.path, seen.json["model"]) for seen in provider.seen} == {("/v1/chat/completions", "qwen3:8b")}


def test_the_service_is_shown_as_written(tmp_path: Path):
    """Without root, and without a systemd that runs: the second command shows, too. That the unit is good, and that it
    is written and started, is said in tests/test_cli/test_commands.py."""
    unwritten = {"sudo agentcontainer install-service": "agentcontainer install-service --show"}
    said = typed(("As a service", 0), environ(), tmp_path, unwritten)
    assert said.count("[Service]") == 2 and "serve --max-running 8\n" in said and "CapabilityBoundingSet=" in said


def test_backup_and_restore_work_as_written(own_server: Server, tmp_path: Path):
    own_server.upload("kept.txt", b"kept")
    typed(("Where things are; backup, upgrade, removal", 0), environ(own_server), tmp_path)
    files = list((tmp_path / "elsewhere" / "files").iterdir())
    assert [file.read_bytes() for file in files] == [b"kept"]


def test_nothing_is_left_when_it_is_removed_as_written(tmp_path: Path):
    """Of one store and a home of its own: this account's other ones, and its images, are in use."""
    server = Server(tmp_path / "home" / ".local" / "share" / "agentcontainer")
    server.data.parent.mkdir(parents=True)
    server.start()
    try:
        asleep = server.dispatch(bash("hibernate --for 1h"))
        server.wait(asleep["id"], "hibernating")
        label = f"agentcontainer.store={server.row('SELECT id FROM store')['id']}"
    finally:
        server.stop()
    assert podman_things(label)
    typed(("Where things are; backup, upgrade, removal", 1), environ(), tmp_path, {
        "label=agentcontainer.store": f"label={label}", "localhost/agentcontainer-*": "localhost/not-ours-*",
        "~/": f"{tmp_path}/home/",
    })
    assert not podman_things(label) and not server.data.exists()


# What it names in a sentence

def test_every_command_that_the_readme_names_in_a_sentence_is_there():
    sentences = BLOCK.sub("", README)
    for words in re.findall(r"`(agentcontainer [a-z][^`]*)`", sentences):
        command = typer.main.get_command(app)
        _, *rest = shlex.split(words)
        while rest and (below := getattr(command, "commands", {}).get(rest[0])):
            command, rest = below, rest[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        assert command.name != "main" and {word for word in rest if word.startswith("-")} <= known, words
    told = subprocess.run([ROOT / "dev"], capture_output=True, text=True).stderr
    for words in re.findall(r"`\./dev (\w+)", sentences):
        assert f"./dev {words}" in told


def test_every_variable_and_path_that_the_readme_names_is_there():
    known = {variable(name) for name in Settings.model_fields} | {
        "AGENTCONTAINER_API_KEY", "AGENTCONTAINER_URL",
        *(f"AGENTCONTAINER_{name}_BASE_URL" for name in ("ANTHROPIC", "OPENAI", "OPENROUTER")),
    }
    for path in Path(__file__).parent.glob("*.py"):     # what makes a test a long one
        known.update(re.findall(r'environ\.get\("(\w+)"', path.read_text()))
    assert set(re.findall(r"AGENTCONTAINER_[A-Z_]+", README)) <= known
    for path in re.findall(r"`((?:images|tests|agentcontainer_local|api|guest|tasks)/[\w/.]+)`", README):
        assert (ROOT / path).exists() or (ROOT / "agentcontainer_local" / path).exists(), path
    tree = BLOCKS["Working on it", 0][1]
    for line in re.findall(r"^  (\S.*?)   ", tree, re.MULTILINE):
        for name in re.split(r",\s+", line.strip()):
            place = ROOT / "agentcontainer_local" / name
            assert place.exists() or place.with_suffix(".py").exists(), name
    assert (ROOT / re.search(r"!\[.*?\]\((.*?)\)", README)[1]).exists()


def test_every_test_that_the_readme_names_is_there():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_[a-z_]+)`", README):
        assert f"def {name}(" in tests, name


def test_the_executable_works_as_written(executable: Path, tmp_path: Path):
    env = environ(XDG_CACHE_HOME=str(tmp_path / "cache"), PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    said = typed(("One file, or a wheel", 0), env, tmp_path, {
        "./dev binary dist/agentcontainer ": f"install -D {executable} dist/agentcontainer ",   # as the fixture made it
        "sudo install -m 755 dist/agentcontainer /usr/local/bin/": "install -D dist/agentcontainer bin/agentcontainer",
    })
    assert "podman" in said
    assert (tmp_path / "cache/agentcontainer/program").is_dir()
