"""The standard images, and the runtime in images that are not ours: real Podman, real builds."""

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from agentcontainer_local.pi import bundle as runtime
from agentcontainer_local.process.file_lock import alone
from agentcontainer_local.sandbox import podman as sandboxes
from agentcontainer_local.sandbox.podman import standard_images
from agentcontainer_local.settings import Settings

NODE = "/opt/agentcontainer/libexec/node"
PI = "/opt/agentcontainer/pi/dist/bundle/cli.js"
UID = 20007
OTHER_RELEASE = "bullseye"
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOLS = {
    "coding": "git rg fd jq curl python3 python pip gcc make ssh unzip xz less ps sqlite3",
    "data": "git python3 pip gcc",
    "documents": "git pdftotext pandoc tesseract qpdf python3",
}
MODULES = {
    "coding": "venv, yaml, requests",
    "data": "pandas, matplotlib.pyplot, numpy, scipy.stats, seaborn, openpyxl, tabulate",
    "documents": "docx, pypdf, openpyxl, lxml, bs4",
}

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() == 0 or not shutil.which("podman"),
        reason="rootless Podman is needed: this is root, or there is none",
    ),
    pytest.mark.timeout(1800),  # the first time, all images are built
]


def podman(*words: str, **options) -> str:
    done = subprocess.run(["podman", *words], cwd="/", capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def mounted() -> Path:
    made = runtime.prepare(Settings().cache, lambda step: None)
    runtime.allow_uid(made, UID)
    return made


@pytest.fixture
def inside(mounted):
    """Run words in a container of an image as a task's container has it: read-only runtime, no rights, no network."""

    def run(image: str, *words: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
        walls = ["--cap-drop=all", "--security-opt=no-new-privileges", "--network=none", "--init"]
        user = f"--user={UID}:{UID}"
        given = [f"--env={name}={value}" for name, value in (env or {}).items()]
        mount = f"--volume={mounted}:/opt/agentcontainer:ro"
        return podman("run", "--rm", "-i", "--pull=never", user, *walls, *given, mount, image, *words, input=stdin)

    return run


@pytest.fixture
async def sandbox(tmp_path):
    runtime_dir = Path(os.environ["XDG_RUNTIME_DIR"], f"ac-{uuid.uuid4().hex[:8]}")
    async with sandboxes.open(runtime_dir, f"test-{uuid.uuid4().hex[:8]}") as opened:
        yield opened
    shutil.rmtree(runtime_dir, ignore_errors=True)


# The runtime in other people's images


def _bare(folder: Path) -> Path:
    """A shell that needs no libraries, and nothing else: no libc, no libstdc++, no /etc."""
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, check=True)
    subprocess.run(["dpkg-deb", "-x", *folder.glob("*.deb"), folder], check=True)
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    shutil.copy(next(folder.glob("**/bin/busybox")), root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    subprocess.run(["tar", "-C", root, "-cf", folder / "root.tar", "."], check=True)
    return folder / "root.tar"


def _other_release(folder: Path) -> Path:
    argv = ["mmdebstrap", "--quiet", "--variant=essential", OTHER_RELEASE, folder / "root.tar"]
    subprocess.run(argv, check=True, cwd="/", env={**os.environ, "TMPDIR": "/var/tmp"})
    return folder / "root.tar"


@pytest.fixture(scope="module", params=["bare", "other"])
def foreign(request, tmp_path_factory) -> str:
    """An image of somebody else; kept between sessions under a name of the tests' own."""
    name = f"localhost/agentcontainer-tests/{request.param if request.param == 'bare' else OTHER_RELEASE}:1"
    if request.param == "other" and not (shutil.which("mmdebstrap") and DEBIAN_KEYS.exists()):
        pytest.skip("mmdebstrap or Debian's archive keys are not installed, so there is no other release to try")
    if subprocess.run(["podman", "image", "exists", name], cwd="/").returncode != 0:
        archive = (_bare if request.param == "bare" else _other_release)(tmp_path_factory.mktemp("foreign"))
        podman("import", str(archive), name)
    return name


def test_node_and_pi_start_in_any_image(inside, foreign):
    assert inside(foreign, NODE, "-p", "process.version").startswith("v24.")
    assert inside(foreign, NODE, PI, "--version").strip() == "1.5.2"


def test_our_commands_start_in_any_image(inside, foreign):
    assert "--complete-task" in inside(foreign, "/bin/sh", "-c", "PATH=/opt/agentcontainer/bin finish --help")


def test_an_image_that_points_at_libraries_of_its_own_does_not_break_node(inside, foreign):
    script = f"echo none > /tmp/libc.so.6; LD_LIBRARY_PATH=/tmp {NODE} -p 6*7"
    assert inside(foreign, "/bin/sh", "-c", script) == "42\n"


def test_what_node_starts_inherits_no_library_path(inside, foreign):
    shown = inside(foreign, NODE, "-p", "child_process.execFileSync('/bin/sh', ['-c', 'set']).toString()")
    assert "LD_" not in shown


def test_the_compile_cache_is_used_by_any_uid_from_a_read_only_mount(inside, foreign):
    flags = "--mode rpc -na -ne -ns -np --no-themes --no-session --provider anthropic --model claude-sonnet-4-5"
    environment = {
        "NODE_COMPILE_CACHE": "/opt/agentcontainer/cache/compile",
        "NODE_DEBUG_NATIVE": "COMPILE_CACHE",
        "PI_OFFLINE": "1",
        "PI_CODING_AGENT_DIR": "/tmp/pi",
        "ANTHROPIC_API_KEY": "none",
    }
    asked = '{"type":"get_state"}\n'
    said = inside(foreign, "/bin/sh", "-c", f"{NODE} {PI} {flags} 2>&1", env=environment, stdin=asked)
    assert '"id":"claude-sonnet-4-5"' in said
    looked_up = [line for line in said.splitlines() if "V8 code cache for" in line]
    assert len(looked_up) > 20
    assert [line for line in looked_up if "was accepted" not in line] == []


# The standard images


def test_a_tag_stands_for_all_that_an_image_is_built_on():
    assert standard_images.parent_of("coding") is None
    assert standard_images.parent_of("data") == standard_images.parent_of("documents") == "coding"
    for name in standard_images.BY_PRESET.values():
        assert standard_images.tag_of(name) == standard_images.tag_of(name)
        assert standard_images.tag_of(name) != standard_images.tag_of(name, standard_images.made_base())


@pytest.mark.parametrize("name", TOOLS)
async def test_a_standard_image_has_its_tools(sandbox, inside, name):
    image = await standard_images.ensure(sandbox, name, print)
    script = f"for tool in {TOOLS[name]}; do command -v $tool >/dev/null || echo $tool; done"
    assert inside(image, "sh", "-c", script) == ""
    assert inside(image, "python3", "-c", f"import {MODULES[name]}; print('naïve — ok')") == "naïve — ok\n"


@pytest.mark.parametrize("name", TOOLS)
async def test_a_standard_image_keeps_nothing_of_the_machine_that_built_it(sandbox, inside, name):
    image = await standard_images.ensure(sandbox, name, print)
    assert inside(image, "sh", "-c", "ls -A /mnt /usr/local/share/ca-certificates /etc/apt/auth.conf.d").split() == [
        "/etc/apt/auth.conf.d:",
        "/mnt:",
        "/usr/local/share/ca-certificates:",
    ]
    shown = inside(image, "sh", "-c", "cat /etc/apt/sources.list.d/*; apt-config dump; env")
    assert not [uri for uri in _mirrors() if uri in shown]
    assert "Acquire::http::Proxy" not in shown
    assert "APT_CONFIG" not in shown
    bundle = inside(image, "sh", "-c", "cat /etc/ssl/certs/ca-certificates.crt")
    packaged = inside(image, "sh", "-c", "cat /usr/share/ca-certificates/*/*.crt")
    assert bundle.count("BEGIN CERTIFICATE") <= packaged.count("BEGIN CERTIFICATE")


def _mirrors() -> set[str]:
    """Where this machine gets its packages, unless that is where everybody does."""
    public = (standard_images.folder() / "base/Containerfile").read_text()
    uris = {line.split()[1].rstrip("/") for line in standard_images._sources(standard_images._suite())}
    return {uri for uri in uris if uri not in public}


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> str:
    """An image of one small layer, in a folder of its own beside the same base."""
    shutil.copytree(standard_images.folder() / "base", tmp_path / "images/base")
    (tmp_path / "images/tiny").mkdir()
    recipe = "ARG BASE=docker.io/library/debian:bookworm-slim\nFROM ${BASE}\nRUN date +%s.%N > /built\n"
    (tmp_path / "images/tiny/Containerfile").write_text(f"# {uuid.uuid4()}\n{recipe}")
    monkeypatch.setattr(standard_images, "folder", lambda: tmp_path / "images")
    yield "tiny"
    for base in (standard_images.REGISTRY_BASE, standard_images.made_base()):
        subprocess.run(
            ["podman", "rmi", "--ignore", standard_images.tag_of("tiny", base)], cwd="/", capture_output=True
        )


SLOW_APT = """#!/bin/sh
touch {folder}/asked
for _ in $(seq 50); do [ -e {folder}/heard ] && break; sleep 0.1; done
[ -e {folder}/heard ] || touch {folder}/unheard
exec {real} "$@"
"""


@pytest.mark.skipif(not shutil.which("apt-config"), reason="this machine has no apt")
async def test_others_are_answered_while_a_build_asks_a_slow_apt(sandbox, tiny, tmp_path, monkeypatch):
    """What runs on the event loop meanwhile hears that apt is at work; apt waits for that, for a while."""
    (tmp_path / "bin").mkdir()
    for name in ("apt-config", "apt-get"):
        (tmp_path / "bin" / name).write_text(SLOW_APT.format(folder=tmp_path, real=shutil.which(name)))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")

    async def answer() -> None:
        while not (tmp_path / "asked").exists():
            await asyncio.sleep(0.02)
        (tmp_path / "heard").touch()

    answering = asyncio.create_task(answer())
    await standard_images.ensure(sandbox, tiny, print)
    await answering
    assert not (tmp_path / "unheard").exists()


ELSEWHERE = """
import asyncio, pathlib, sys
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.podman import standard_images
async def main():
    standard_images.folder = lambda: pathlib.Path(sys.argv[1])
    async with podman.open(pathlib.Path(sys.argv[2]), "test-elsewhere") as opened:
        await standard_images.ensure(opened, "tiny", lambda step: print(step, flush=True))
asyncio.run(main())
"""


async def test_all_who_want_an_image_wait_for_one_build(sandbox, tiny, tmp_path):
    said = []
    other_dir = Path(os.environ["XDG_RUNTIME_DIR"], f"ac-{uuid.uuid4().hex[:8]}")
    elsewhere = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ELSEWHERE, str(standard_images.folder()), str(other_dir), stdout=subprocess.PIPE
    )
    refs = await asyncio.gather(*(standard_images.ensure(sandbox, tiny, said.append) for _ in range(3)))
    there, _ = await elsewhere.communicate()
    shutil.rmtree(other_dir, ignore_errors=True)
    assert elsewhere.returncode == 0
    assert len(set(refs)) == 1
    assert [*said, *there.decode().splitlines()].count("Building the image tiny, once") == 1


async def test_a_base_that_is_here_already_is_used_without_asking_a_registry(sandbox, tiny):
    was_here = await sandbox.image_id(standard_images.REGISTRY_BASE)
    if not was_here:
        podman("tag", standard_images.made_base(), standard_images.REGISTRY_BASE)
    try:
        assert await standard_images.ensure(sandbox, tiny, print) == standard_images.tag_of(
            tiny, standard_images.REGISTRY_BASE
        )
    finally:
        if not was_here:
            podman("untag", standard_images.REGISTRY_BASE, standard_images.REGISTRY_BASE)


async def test_a_build_that_fails_says_why_and_leaves_no_image(sandbox, tiny):
    with (standard_images.folder() / "tiny/Containerfile").open("a") as recipe:
        recipe.write("RUN echo it broke on purpose; false\n")
    with pytest.raises(sandboxes.SandboxError, match="it broke on purpose"):
        await standard_images.ensure(sandbox, tiny, print)
    assert await sandbox.image_id(standard_images.tag_of(tiny, standard_images.made_base())) is None


@pytest.fixture
def no_remains(builds_alone):
    """Podman leaves the working container of a build that was ended; here it is removed."""
    before = working_containers()
    yield
    for left in working_containers() - before:
        podman("rm", "--force", left)


def working_containers() -> set[str]:
    """Those of builds on the base: other tests have containers of their own meanwhile, and build on other images."""
    base = standard_images.made_base().rpartition("/")[2].partition(":")[0]
    listed = podman("ps", "--all", "--external", "--format", "{{.ID}} {{.Names}} {{.Status}}").splitlines()
    found = [line.split(maxsplit=2) for line in listed if line.lower().endswith("storage")]
    return {id for id, name, _ in found if name.startswith(f"{base}-working-container")}


async def test_a_cancelled_build_frees_the_way(sandbox, tiny, no_remains):
    with (standard_images.folder() / "tiny/Containerfile").open("a") as recipe:
        recipe.write("RUN sleep 600\n")
    building = asyncio.ensure_future(standard_images.ensure(sandbox, tiny, print))
    await asyncio.sleep(3)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    async with asyncio.timeout(5), alone("images"):
        pass
