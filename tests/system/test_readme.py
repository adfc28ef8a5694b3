"""Each command of the README and of docs/ is run here: a block without a test fails."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from agentcontainer_local.process import build
from agentcontainer_local.sandbox.podman import standard_images
from tests import fake_provider
from tests.system import storage
from tests.system.conftest import Server, podman, podman_things, serving
from tests.system.storage import elsewhere
from tests.system.test_main_job import bash

__all__ = ["elsewhere"]

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
FIRST = "The first ten minutes"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBERS = "1\n2\n3\n"
SHOWN = ("text", "json", "yaml", "mermaid")  # languages of what is shown, and not typed


def sections(text: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each heading, with its blocks: language and text."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        yield heading, BLOCK.findall(text)


BLOCKS = {
    (page, heading, at): block
    for page, text in PAGES.items()
    for heading, blocks in sections(text)
    for at, block in enumerate(blocks)
}
# What runs each of them. `./dev test` would run itself; that `./dev` sets up, and runs what it says, is in test_dev.
TESTED = {
    ("README", "Two commands", 0): "test_the_demo_brings_a_chart",
    ("README", FIRST, 0): "test_a_server_starts_as_written_and_again",
    ("README", FIRST, 2): "test_a_task_runs_as_written_and_shows_what_is_written",
    ("README", FIRST, 4): "test_a_provider_works_as_written",
    ("README", FIRST, 5): "test_the_api_is_called_with_a_new_key_as_written",
    ("README", FIRST, 6): "test_the_first_python_program_works_as_written",
    ("command-line", "Commands", 0): "test_the_commands_work_as_written",
    ("http-api", "With curl", 0): "test_the_walk_with_curl_works_as_written",
    ("python-client", "One call", 0): "test_the_first_python_program_works_as_written",
    ("python-client", "In steps", 0): "test_the_python_program_in_steps_works_as_written",
    ("images", "Your own image", 0): "test_an_image_of_ones_own_works_as_written",
    ("images", "Directories that the agent may write to", 0): "test_an_image_of_ones_own_works_as_written",
    ("models", "A provider", 0): "test_a_provider_works_as_written",
    ("models", "A model of your own", 0): "test_a_local_model_works_as_written",
    ("testing", "With pytest", 0): "test_the_fixture_for_pytest_works_as_written",
    ("testing", "In other languages", 0): "test_an_ephemeral_server_works_as_written",
    ("testing", "A usual server", 0): "test_a_server_for_tests_works_as_written",
    ("testing", "Recordings", 0): "test_a_recorded_task_is_repeated_as_written",
    ("testing", "Recordings", 1): "test_recordings_beside_scripts_work_as_written",
    ("testing", "Faults", 0): "test_faults_happen_as_written",
    ("testing", "Time", 0): "test_tests_that_move_the_clock_work_as_written",
    ("operating", "Faster starts", 0): "test_servers_that_keep_containers_ready_start_as_written",
    ("operating", "As a service", 0): "test_the_service_is_shown_as_written",
    ("operating", "Health and metrics", 0): "test_a_key_for_metrics_is_made_as_written",
    ("operating", "Behind a reverse proxy", 0): "test_a_server_behind_a_proxy_starts_as_written",
    ("operating", "Backup and restore", 0): "test_backup_and_restore_work_as_written",
    ("operating", "Deleted data directories", 0): "test_leftovers_are_removed_as_written",
    ("operating", "Removal", 0): "test_nothing_is_left_when_it_is_removed_as_written",
    ("operating", "One file, or a wheel", 0): "test_the_executable_works_as_written",
}


def test_every_block_that_can_be_typed_has_a_test():
    assert {key for key, (language, _) in BLOCKS.items() if language not in SHOWN} == set(TESTED)
    assert all(callable(globals()[name]) for name in TESTED.values())


def environ(server: Server | None = None, **more: str) -> dict[str, str]:
    """With `agentcontainer` on PATH, as in `./dev exec`, and the server that is meant."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTCONTAINER_")}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    named = (
        {
            "AGENTCONTAINER_URL": server.url,
            "AGENTCONTAINER_API_KEY": server.key,
            "AGENTCONTAINER_DATA": str(server.data),
        }
        if server
        else {}
    )
    return {**kept, "PATH": path, **named, **more}


def typed(key: tuple[str, str, int], env: dict[str, str], cwd: Path, instead: dict[str, str] | None = None) -> str:
    """A block as a shell runs it, with other words where this machine has no registry, root or vendor."""
    _, text = BLOCKS[key]
    for old, new in (instead or {}).items():
        assert old in text
        text = text.replace(old, new)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_demo_brings_a_chart(tmp_path: Path):
    assert "./dev demo " in BLOCKS["README", "Two commands", 0][1]
    env = {name: value for name, value in environ(TMPDIR=str(tmp_path)).items() if not name.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "demo.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (chart,) = tmp_path.glob("agentcontainer-demo-*/chart.png")
    assert chart.read_bytes().startswith(b"\x89PNG")


def as_shown(shown: str, said: str) -> bool:
    """Whether that is what was said; `…` stands for what differs each time."""
    return bool(re.fullmatch(re.escape(shown.strip()).replace("…", ".*"), said.strip()))


@contextlib.contextmanager
def started(
    key: tuple[str, str, int], env: dict[str, str], cwd: Path, line: int | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """A block, or a line of it, that starts a server, until it is ready: what it has said by then, and the process."""
    text = BLOCKS[key][1] if line is None else BLOCKS[key][1].splitlines()[line]
    command = ["bash", "-euo", "pipefail", "-c", text]
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as server:
        try:
            said = ""
            while "Try: curl" not in said:
                line = server.stdout.readline()
                assert line, said
                said += line
            yield said, server
        finally:
            os.killpg(server.pid, signal.SIGINT)


def test_a_server_starts_as_written_and_again(tmp_path: Path):
    """A second start prints no key, and a command of the same user needs none."""
    env = environ(AGENTCONTAINER_PORT="0", AGENTCONTAINER_DATA=str(tmp_path / "data"))
    shown = BLOCKS["README", FIRST, 1][1].replace("0.1.0+g4e63416", build.version())
    shown = shown.replace("/home/you/.local/share/agentcontainer", str(tmp_path / "data"))
    key, _, ready = shown.partition("\n")
    for start, expected in enumerate((f"{key}\n{ready}", ready.replace("ac_live_…", "YOUR_KEY"))):
        with started(("README", FIRST, 0), env, tmp_path) as (said, process):
            url = said.split("is ready at ")[1].split()[0]
            assert httpx.get(f"{url}/healthz", trust_env=False).text == "ok\n"
            assert as_shown(expected, said.replace(url, "http://127.0.0.1:3000")), (start, said)
            subprocess.run(["agentcontainer", "account"], env=env, check=True, capture_output=True, timeout=60)
        process.wait(timeout=60)


def test_a_server_behind_a_proxy_starts_as_written(tmp_path: Path):
    env = environ(AGENTCONTAINER_PORT="0", AGENTCONTAINER_DATA=str(tmp_path / "data"), AGENTCONTAINER_API_KEY="")
    with started(("operating", "Behind a reverse proxy", 0), env, tmp_path) as (said, _):
        assert "is ready at https://example.org/agents " in said and "Listening on http://127.0.0.1:" in said


def test_servers_that_keep_containers_ready_start_as_written(tmp_path: Path):
    env = environ(AGENTCONTAINER_PORT="0", AGENTCONTAINER_DATA=str(tmp_path / "data"), AGENTCONTAINER_API_KEY="")
    block = ("operating", "Faster starts", 0)
    for line, _ in enumerate(BLOCKS[block][1].splitlines()):
        with started(block, env, tmp_path, line) as (said, process):
            assert "is ready at" in said
        process.wait(timeout=60)


def test_a_task_runs_as_written_and_shows_what_is_written(server: Server, tmp_path: Path):
    _, text = BLOCKS["README", FIRST, 2]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"({text}) 2>&1"],
        cwd=tmp_path,
        env=environ(server),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert as_shown(BLOCKS["README", FIRST, 3][1], done.stdout), done.stdout
    assert (tmp_path / "out" / "sum.txt").read_text() == "6\n"


def test_the_walk_with_curl_works_as_written(server: Server, tmp_path: Path):
    said = typed(("http-api", "With curl", 0), environ(server), tmp_path)
    assert "event: activity.started" in said
    assert said.rstrip().endswith("finished\n6")
    assert (tmp_path / "sum.txt").read_text() == "6\n"


def test_the_commands_work_as_written(own_server: Server, tmp_path: Path):
    said = typed(("command-line", "Commands", 0), environ(own_server), tmp_path)
    assert "\nHello\n" in said and "agt_standard_data" in said and '"billingMode"' in said
    assert len(own_server.get("/tasks")["data"]) == 2


def python(key: tuple[str, str, int], server: Server, folder: Path) -> str:
    (folder / "numbers.csv").write_text(NUMBERS)
    language, program = BLOCKS[key]
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environ(server), capture_output=True, text=True, timeout=120)
    assert (language, done.returncode) == ("python", 0), done.stderr
    return done.stdout


def test_the_first_python_program_works_as_written(server: Server, tmp_path: Path):
    assert BLOCKS["python-client", "One call", 0] == BLOCKS["README", FIRST, 6]
    assert python(("README", FIRST, 6), server, tmp_path) == BLOCKS["README", FIRST, 7][1]


def test_the_python_program_in_steps_works_as_written(server: Server, tmp_path: Path):
    assert "task.updated\n" in python(("python-client", "In steps", 0), server, tmp_path)


def test_the_api_is_called_with_a_new_key_as_written(server: Server, tmp_path: Path):
    """Twice: as often as it is typed."""
    env = {name: value for name, value in environ(server).items() if name != "AGENTCONTAINER_API_KEY"}
    del env["AGENTCONTAINER_URL"]  # the owner of the data directory needs neither
    for _ in range(2):
        said = typed(("README", FIRST, 5), env, tmp_path, {"http://127.0.0.1:3000": server.url})
        assert "agt_standard_coding" in said


def test_a_server_for_tests_works_as_written(tmp_path: Path):
    said = typed(("testing", "A usual server", 0), environ(TMPDIR=str(tmp_path)), tmp_path)
    assert (tmp_path / "out" / "sum.txt").read_text() == "6\n"
    assert "Six\n" in said and "Half of it\n" in said


def test_faults_happen_as_written(tmp_path: Path):
    program = BLOCKS["testing", "Faults", 0][1]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_line_that_says_that_a_server_is_ready_is_as_written(tmp_path: Path):
    command = ["agentcontainer", "serve", "--port", "0", "--json", "--data", str(tmp_path / "data")]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=environ(), **streams) as server:
        said = json.loads(server.stdout.readline())
        server.terminate()
    assert set(said) == set(json.loads(BLOCKS["testing", "A usual server", 1][1]))


def test_the_fixture_for_pytest_works_as_written(tmp_path: Path):
    assert "2 passed" in suite(("testing", "With pytest", 0), tmp_path, "-p", "agentcontainer_local.pytest_plugin")


def test_an_ephemeral_server_works_as_written(tmp_path: Path):
    (folder := tmp_path / "tmp").mkdir()
    said = typed(("testing", "In other languages", 0), environ(TMPDIR=str(folder)), tmp_path)
    assert (tmp_path / "out" / "report.txt").read_text() == "3 passed"
    assert '"problems":[]' in said and "All green" in said
    assert list(folder.iterdir()) == []


def test_tests_that_move_the_clock_work_as_written(tmp_path: Path):
    assert "2 passed" in suite(("testing", "Time", 0), tmp_path, "-p", "agentcontainer_local.pytest_plugin")


def suite(key: tuple[str, str, int], folder: Path, *options: str) -> str:
    """What pytest says of a block."""
    (folder / "test_it.py").write_text(BLOCKS[key][1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_it.py"],
        cwd=folder,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_a_key_for_metrics_is_made_as_written(own_server: Server, tmp_path: Path):
    typed(("operating", "Health and metrics", 0), environ(own_server), tmp_path)
    headers = {"Authorization": f"Bearer {(tmp_path / 'prometheus.key').read_text().strip()}"}
    metrics = own_server.client.get("/metrics", headers=headers)
    for name in re.findall(r"^\| `(agentcontainer_\w+)", PAGES["operating"], re.MULTILINE):
        assert f"# TYPE {name} " in metrics.text, name
    assert own_server.client.get("/api/v1/account", headers=headers).status_code == 403
    scrape = yaml.safe_load(BLOCKS["operating", "Health and metrics", 1][1])
    assert scrape["scrape_configs"][0]["job_name"] == "agentcontainer"


def test_an_image_of_ones_own_works_as_written(server: Server, tmp_path: Path):
    """On the base that this machine has: a registry may be out of reach."""
    server.run("Nothing.")  # from here on there is one
    here = podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    base = next(name for name in (standard_images.made_base(), standard_images.REGISTRY_BASE) if name in here)
    try:
        said = typed(("images", "Your own image", 0), environ(server), tmp_path, {standard_images.REGISTRY_BASE: base})
        assert "hello from my image" in said
        writable = ("images", "Directories that the agent may write to", 0)
        assert "/usr/local/bin" in typed(writable, environ(server), tmp_path)
    finally:
        podman("rmi", "--force", "localhost/mine:1")


def test_a_recorded_task_is_repeated_as_written(provider: fake_provider.FakeProvider, tmp_path: Path):
    provider.plan(
        fake_provider.bash("echo Steel and sea > poem.txt"),
        fake_provider.bash('finish --complete-task --message "Done" poem.txt'),
    )
    key = {"AGENTCONTAINER_API_KEY": "ac_live_only_for_the_tests_of_mine"}
    typed(("testing", "Recordings", 0), environ(**provider.environ(), **key), tmp_path)
    assert (tmp_path / "again" / "poem.txt").read_text() == "Steel and sea\n"
    assert len(provider.seen) == 2


def test_recordings_beside_scripts_work_as_written(provider: fake_provider.FakeProvider, tmp_path: Path):
    provider.plan(fake_provider.bash('finish --complete-task --message "Six"'))
    (tmp_path / "recordings").mkdir()
    for new in (provider.environ() | {"RECORD": "1"}, {}):
        subprocess.run(
            [sys.executable, "-c", BLOCKS["testing", "Recordings", 1][1]],
            cwd=tmp_path,
            env=environ(**new),
            check=True,
            timeout=120,
        )
    assert len(provider.seen) == 1


@pytest.fixture
def vendor(provider: fake_provider.FakeProvider, tmp_path: Path) -> Iterator[tuple[fake_provider.FakeProvider, Server]]:
    """A provider that speaks as the vendors do, and a server that has no key for it yet."""
    provider.plan(
        fake_provider.bash("echo Steel and sea > poem.txt"),
        fake_provider.bash('finish --complete-task --message "Done" poem.txt'),
    )
    urls = {name: value for name, value in provider.environ().items() if name.endswith("_BASE_URL")}
    with serving(tmp_path / "data", **urls, **dict.fromkeys(set(provider.environ()) - set(urls), "")) as server:
        yield provider, server


def test_a_provider_works_as_written(vendor, tmp_path: Path):
    provider, server = vendor
    (tmp_path / "key.txt").write_text("sk-of-the-file\n")
    assert BLOCKS["README", FIRST, 4] == BLOCKS["models", "A provider", 0]
    typed(("README", FIRST, 4), environ(server), tmp_path)
    assert (tmp_path / "poems" / "poem.txt").read_text() == "Steel and sea\n"
    assert {seen.header("x-api-key") for seen in provider.seen} == {"sk-of-the-file"}


def test_a_local_model_works_as_written(vendor, tmp_path: Path):
    provider, server = vendor
    here = {"http://127.0.0.1:11434/v1": provider.environ()["AGENTCONTAINER_OPENAI_BASE_URL"]}
    typed(("models", "A model of your own", 0), environ(server), tmp_path, here)
    assert (tmp_path / "poems" / "poem.txt").read_text() == "Steel and sea\n"
    assert {(seen.path, seen.json["model"]) for seen in provider.seen} == {("/v1/chat/completions", "qwen3:8b")}


def test_the_service_is_shown_as_written(tmp_path: Path):
    """Without a systemd that runs: the second command shows, too. That the unit is good is tested in
    tests/unit/cli/test_commands.py."""
    unwritten = {"--yes": "--show"}
    said = typed(("operating", "As a service", 0), environ(), tmp_path, unwritten)
    assert said.count("[Service]") == 2 and "serve --max-running 8\n" in said


def test_backup_and_restore_work_as_written(own_server: Server, tmp_path: Path):
    own_server.upload("kept.txt", b"kept")
    typed(("operating", "Backup and restore", 0), environ(own_server), tmp_path)
    files = list((tmp_path / "elsewhere" / "files").iterdir())
    assert [file.read_bytes() for file in files] == [b"kept"]


def test_leftovers_are_removed_as_written(elsewhere, tmp_path: Path):
    storage.podman(elsewhere, "volume", "create", "mine")
    typed(("operating", "Deleted data directories", 0), {**elsewhere, "PATH": environ()["PATH"]}, tmp_path)
    assert storage.podman(elsewhere, "volume", "ls", "--quiet") == "mine"


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
    typed(
        ("operating", "Removal", 0),
        environ(),
        tmp_path,
        {
            "label=agentcontainer.store": f"label={label}",
            "localhost/agentcontainer-*": "localhost/not-ours-*",
            "~/": f"{tmp_path}/home/",
        },
    )
    assert not podman_things(label) and not server.data.exists()


def test_the_executable_works_as_written(executable: Path, tmp_path: Path):
    env = environ(XDG_CACHE_HOME=str(tmp_path / "cache"), PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    said = typed(
        ("operating", "One file, or a wheel", 0),
        env,
        tmp_path,
        {
            "./dev binary dist/agentcontainer ": f"install -D {executable} dist/agentcontainer ",
            "sudo install -m 755 dist/agentcontainer /usr/local/bin/": (
                "install -D dist/agentcontainer bin/agentcontainer"
            ),
        },
    )
    assert "podman" in said
    assert (tmp_path / "cache/agentcontainer/program").is_dir()
