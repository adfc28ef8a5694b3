"""`./dev` becomes the command it is given, in the environment of the project."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
DEV = CLONE / "dev"
SHOW_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"


def dev(*args: str, **options) -> subprocess.CompletedProcess[str]:
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([DEV, *args], capture_output=True, text=True, timeout=300, **options)


def environment_of_a_command(**changes: str) -> dict[str, str]:
    ran = dev("exec", "--", "python", "-c", SHOW_ENVIRONMENT, env={**os.environ, **changes})
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def started(*command: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen([DEV, "exec", "--", *command], stdout=subprocess.PIPE, text=True, **options)


# ---- arguments, streams, exit code ----


def test_arguments_arrive_as_they_were_given():
    given = ["two words", "a\nline break", "", "'\"$HOME`id`*", "--", "-x", "ünïcödé"]
    ran = dev("exec", "--", "python", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *given)
    assert json.loads(ran.stdout) == given


def test_stdout_is_the_commands_alone():
    ran = dev("exec", "--", "printf", "only this")
    assert ran.stdout == "only this"


def test_what_dev_says_itself_goes_to_stderr():
    ran = dev("setup")
    assert ran.returncode == 0
    assert ran.stdout == ""
    assert "set up" in ran.stderr


def test_stderr_of_the_command_is_passed_through():
    ran = dev("exec", "--", "sh", "-c", "echo complaint >&2")
    assert ran.stderr.endswith("complaint\n")


def test_stdin_reaches_the_command_to_its_last_byte():
    sent = os.urandom(300_000)
    command = [DEV, "exec", "--", "cat"]
    assert subprocess.run(command, input=sent, stdout=subprocess.PIPE, timeout=300, check=True).stdout == sent


@pytest.mark.parametrize("stream", ["0<&-", "1>&-"])
def test_a_stream_that_is_closed_is_an_empty_one_for_the_command(stream):
    command = f"{DEV} exec -- sh -c 'cat && echo out && echo err >&2' {stream}"
    ran = subprocess.run(["bash", "-c", command], input="in\n", capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    wanted = {"0<&-": ("out\n", "err\n"), "1>&-": ("", "err\n")}
    assert (ran.stdout, ran.stderr) == wanted[stream]


@pytest.mark.parametrize("code", [0, 1, 2, 42, 255])
def test_the_exit_code_is_the_commands(code):
    assert dev("exec", "--", "sh", "-c", f"exit {code}").returncode == code


def test_a_command_that_does_not_exist_is_127():
    ran = dev("exec", "--", "no-such-command")
    assert ran.returncode == 127
    assert "no-such-command" in ran.stderr


@pytest.mark.parametrize("args", [["exec"], ["exec", "--"], ["no-such-verb"], ["setup", "something"]])
def test_wrong_use_is_2_and_says_what_there_is(args):
    ran = dev(*args)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "./dev exec -- CMD" in ran.stderr


@pytest.mark.parametrize("args", [[], ["help"], ["--help"]])
def test_help_is_not_an_error(args):
    ran = dev(*args)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "./dev demo" in ran.stderr and "./dev binary" in ran.stderr


# ---- signals: the process is the command itself ----


def test_the_process_that_was_started_becomes_the_command():
    with started("sh", "-c", "echo $$") as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_command(number):
    program = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(7))\n"
        "print('waiting', flush=True)\n"
        "signal.pause()"
    )
    with started("python", "-c", program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        assert process.wait(30) == 7


def test_a_command_killed_by_a_signal_is_seen_as_such():
    shell = f"{DEV} exec -- sh -c 'kill -TERM $$'; echo $?"
    ran = subprocess.run(["bash", "-c", shell], stdout=subprocess.PIPE, text=True, timeout=300)
    assert ran.stdout == "143\n"


def test_no_session_and_no_terminal_come_between():
    with started("python", "-c", "import os; print(os.getsid(0), os.getpgrp())") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [str(os.getsid(0)), str(os.getpgrp())]


# ---- environment ----


def test_the_callers_environment_reaches_the_command():
    given = {"AGENTCONTAINER_X": "x", "account": "a b", "log": "line\nline", "script": "", "not.a-name": "1"}
    seen = environment_of_a_command(**given)
    assert {name: seen.get(name) for name in given} == given


def test_nothing_but_the_environment_of_the_project_is_added():
    own = {"PATH", "PYTHONPATH", "VIRTUAL_ENV", "XDG_RUNTIME_DIR", "SHLVL", "PWD", "OLDPWD", "_", "LC_CTYPE"}
    changed = {name for name, value in environment_of_a_command().items() if os.environ.get(name) != value}
    assert changed <= own


def test_home_and_runtime_directory_are_the_accounts():
    seen = environment_of_a_command()
    account = pwd.getpwuid(os.getuid())
    assert seen["HOME"] == account.pw_dir
    runtime = Path(seen["XDG_RUNTIME_DIR"]).stat()
    assert (runtime.st_uid, runtime.st_mode & 0o077) == (os.getuid(), 0)


def test_a_runtime_directory_of_somebody_else_is_not_used():
    seen = environment_of_a_command(XDG_RUNTIME_DIR="/")
    assert Path(seen["XDG_RUNTIME_DIR"]).stat().st_uid == os.getuid()


def test_the_command_is_not_root():
    assert dev("exec", "--", "id", "-u").stdout.strip() == str(os.getuid()) != "0"


def test_python_is_that_of_the_environment_and_finds_this_clone():
    program = "import agentcontainer_local, sys; print(sys.prefix, agentcontainer_local.__file__)"
    prefix, module = dev("exec", "--", "python", "-c", program, cwd="/").stdout.split()
    assert prefix == sys.prefix
    assert Path(module).parent.parent == CLONE


def test_the_project_is_installed_with_its_command_and_its_version():
    program = "from importlib.metadata import version; print(version('agentcontainer-local'))"
    ran = dev("exec", "--", "sh", "-c", f'command -v agentcontainer; python -c "{program}"', cwd="/")
    command, version = ran.stdout.split()
    assert f'__version__ = "{version}"' in (CLONE / "agentcontainer_local/__init__.py").read_text()
    scripts = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts.pop("agentcontainer").split(":")
    assert not scripts
    assert os.access(command, os.X_OK)
    assert f"from {module} import {function}\n" in Path(command).read_text()


def test_a_python_path_of_the_caller_is_kept(tmp_path):
    seen = environment_of_a_command(PYTHONPATH=str(tmp_path))
    assert seen["PYTHONPATH"].split(":")[-1] == str(tmp_path)


def test_a_temporary_directory_that_is_closed_to_the_account_is_forgotten(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert "TMPDIR" not in environment_of_a_command(TMPDIR=str(closed / "tmp"))
    assert environment_of_a_command(TMPDIR=str(tmp_path))["TMPDIR"] == str(tmp_path)


def test_a_program_that_is_missing_does_not_look_forbidden(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    path = f"{closed}:{os.environ['PATH']}"
    program = "import subprocess\ntry: subprocess.run(['no-such-command'])\nexcept FileNotFoundError: print('missing')"
    assert dev("exec", "--", "python", "-c", program, env={**os.environ, "PATH": path}).stdout == "missing\n"


def test_the_directory_is_kept(tmp_path):
    assert dev("exec", "--", "pwd", cwd=tmp_path).stdout == f"{tmp_path}\n"


def test_podman_there_is_rootless_and_layers_its_images():
    answer = dev("exec", "--", "podman", "info", "--format", "{{.Host.Security.Rootless}} {{.Store.GraphDriverName}}")
    assert answer.stdout == "true overlay\n"


# ---- setting up ----


@pytest.fixture
def small_clone(tmp_path: Path) -> Path:
    """A clone that needs nothing from a package index."""
    clone = tmp_path / "a clone"
    (clone / "agentcontainer_local").mkdir(parents=True)
    for name in ("dev", "agentcontainer_local/__init__.py"):
        shutil.copy(CLONE / name, clone / name)
    (clone / "requirements.lock").write_text("# nothing\n")
    return clone


def in_small_clone(clone: Path, **options) -> subprocess.Popen[str]:
    """Starts a command with a state of its own, so that everything below the account is set up anew."""
    program = "import agentcontainer_local; print(agentcontainer_local.__file__)"
    own = {**os.environ, "XDG_CACHE_HOME": str(clone.parent / "cache")}
    command = [clone / "dev", "exec", "--", "python", "-c", program]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=own, text=True, cwd=clone, **streams, **options)


def test_set_up_is_done_once_and_writes_nothing_to_the_clone(small_clone):
    before = sorted(small_clone.rglob("*"))
    for steps_are_said in (True, False):
        out, err = in_small_clone(small_clone).communicate(timeout=300)
        assert out == f"{small_clone}/agentcontainer_local/__init__.py\n", err
        assert ("virtual environment" in err) == steps_are_said
    ours = [path for path in sorted(small_clone.rglob("*")) if "__pycache__" not in path.parts]
    assert ours == before


def test_a_set_up_that_was_killed_is_mended_by_the_next(small_clone):
    state = small_clone.parent / "cache" / "agentcontainer-dev"
    killed = in_small_clone(small_clone, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(state.glob("venv-*/bin/python")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not list(state.glob("venv-*/complete"))

    out, err = in_small_clone(small_clone).communicate(timeout=300)
    assert out == f"{small_clone}/agentcontainer_local/__init__.py\n", err
    assert list(state.glob("venv-*/complete"))


def test_two_at_once_set_up_once(small_clone):
    both = [in_small_clone(small_clone) for _ in range(2)]
    errors = []
    for process in both:
        out, err = process.communicate(timeout=300)
        assert out == f"{small_clone}/agentcontainer_local/__init__.py\n", err
        errors.append(err)
    assert sum("virtual environment" in err for err in errors) == 1


# ---- tests ----


@pytest.fixture
def project(tmp_path):
    """The clone's code, and four tests of its own: two quick ones, a slow one, and one of the whole."""
    clone = tmp_path / "project"
    left_out = shutil.ignore_patterns("__pycache__", "static")
    shutil.copytree(CLONE / "agentcontainer_local", clone / "agentcontainer_local", ignore=left_out)
    (clone / "tests").mkdir()
    own = ("__init__.py", "conftest.py", "time_limit.py", "simulated.py")
    for name in ("dev", "pyproject.toml", "requirements.lock", *(f"tests/{name}" for name in own)):
        shutil.copy(CLONE / name, clone / name)
    tests = {
        "unit/test_a": "",
        "guest/test_b": "",
        "unit/test_c": "import pytest\n\npytestmark = pytest.mark.slow\n\n\n",
    }
    for name, before in (tests | {"system/test_d": ""}).items():
        file = clone / "tests" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{before}def {file.stem}():\n    pass\n")
    return clone


def in_project(project: Path, verb: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([project / "dev", verb], capture_output=True, text=True, timeout=300)


def test_check_looks_at_the_code_before_it_runs_the_quick_tests(project):
    done = in_project(project, "check")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
    (project / "agentcontainer_local" / "new.py").write_text("import os\n")
    done = in_project(project, "check")
    assert (done.returncode, done.stdout) == (8, "") and "F401" in done.stderr


def test_check_says_which_types_are_wrong_after_the_quick_tests(project):
    (project / "agentcontainer_local" / "new.py").write_text('number: int = ""\n')
    done = in_project(project, "check")
    assert done.returncode == 8 and "2 passed" in done.stdout and "Incompatible types" in done.stderr


def test_test_runs_each_test_once_even_after_one_that_failed(project):
    (project / "tests/unit/test_a.py").write_text("def test_a():\n    raise AssertionError\n")
    done = in_project(project, "test")
    assert done.returncode == 1, done.stdout + done.stderr
    summaries = re.findall(r"= (\d.*) in ", done.stdout)
    assert summaries == ["1 failed, 1 passed", "2 passed"], done.stdout


def test_the_lock_names_no_place_to_download_from():
    assert "://" not in (CLONE / "requirements.lock").read_text()


def test_the_lock_holds_every_requirement_of_the_project():
    lines = (CLONE / "requirements.lock").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    project = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(need for extra in extras for need in extra)]
    names = {need.split(">")[0].split("=")[0].split("[")[0].lower() for need in wanted} - {project["name"]}
    assert names <= pinned
