"""A container storage of a test's own: the account's has what others need."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.test_cli_system import environ


@pytest.fixture
def elsewhere(tmp_path_factory) -> Iterator[dict[str, str]]:
    """An environment in which Podman has a home of its own, and so another storage.

    Not by CONTAINERS_STORAGE_CONF: rootless Podman shows that file, and works in the usual storage
    (https://github.com/containers/podman/issues/10762).
    """
    home = tmp_path_factory.mktemp("home")
    runtime = Path(os.environ["XDG_RUNTIME_DIR"], f"ac-{home.parent.name}-{home.name}")
    runtime.mkdir(mode=0o700)
    _configuration(home)
    kept = {name: value for name, value in environ().items() if not name.startswith(("XDG_", "CONTAINER"))}
    env = {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    try:
        store = json.loads(podman(env, "info", "--format", "{{json .Store}}"))
        places = {store["graphRoot"]: home, store["volumePath"]: home, store["runRoot"]: runtime}
        assert all(Path(place).is_relative_to(folder) for place, folder in places.items()), "this is another's storage"
        assert store["imageStore"]["number"] == 0
        yield env
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it keeps the storage mounted
            os.kill(int((runtime / "libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
        subprocess.run(["rm", "-rf", runtime, home / ".local"], check=True)


def _configuration(home: Path) -> None:
    """As the account's, but for where the storage is."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"), "containers")
    if folder.is_dir():
        subprocess.run(["cp", "-r", "--", folder, home / "containers"], check=True)
        (home / ".config").mkdir()
        (home / "containers").rename(home / ".config/containers")


def podman(env: dict[str, str], *words: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["podman", *words], env=env, cwd="/", input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()
