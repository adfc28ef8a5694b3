"""The standard containers' images: built from images/<name>/Containerfile at first use, named after their content."""

import asyncio
import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from agentcontainer_local.process import resources
from agentcontainer_local.process.file_lock import alone
from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.sandbox.podman import Sandbox, SandboxError

BY_PRESET = {"coding": "coding", "data-processing": "data", "document-analysis": "documents"}
LABEL = "agentcontainer.image"
MADE_FOR = "agentcontainer.made-for"  # the tag: what is built on an image inherits its labels, but not its name
REGISTRY_BASE = "docker.io/library/debian:bookworm-slim"
REGISTRY = f"https://index.{REGISTRY_BASE.partition('/')[0]}/v2/"
REGISTRY_SECONDS = 4
PULL_SECONDS = 120
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# A folder that every distribution has, so that lending our apt settings leaves nothing behind in the image.
LENT_AT = "/mnt"

Say = Callable[[str], None]


# Which image


async def ensure(sandbox: Sandbox, name: str, say: Say) -> str:
    """The image's name; built if need be, which takes minutes. All who ask meanwhile, in other processes too, wait."""
    return await _existing(sandbox, name) or await _built(sandbox, name, say)


def tag_of(name: str, base: str = REGISTRY_BASE) -> str:
    """The image's name: its tag stands for its folder's content and for all that it is built on."""
    parent = parent_of(name)
    below = tag_of(parent, base) if parent else base
    return f"localhost/agentcontainer-{name}:{_digest(below.encode(), *_contents(name))}"


def parent_of(name: str) -> str | None:
    """The standard image that this one is built on by its own Containerfile."""
    text = (folder() / name / "Containerfile").read_text()
    found = re.search(r"^ARG BASE=localhost/agentcontainer-(\S+)$", text, re.MULTILINE)
    return found and found[1]


@functools.cache
def folder() -> Path:
    """images/ in a checkout, or where the installed package has it."""
    return resources.path_of("images")


def _contents(name: str) -> Iterator[bytes]:
    for file in sorted(path for path in (folder() / name).rglob("*") if path.is_file()):
        yield str(file.relative_to(folder())).encode()
        yield file.read_bytes()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


async def _existing(sandbox: Sandbox, name: str) -> str | None:
    for base in (REGISTRY_BASE, made_base()):
        if await sandbox.image_id(tag_of(name, base)):
            return tag_of(name, base)
    return None


# Building


async def _built(sandbox: Sandbox, name: str, say: Say) -> str:
    parent = parent_of(name)
    below = await ensure(sandbox, parent, say) if parent else None
    # They share layers, and a machine has better things to do.
    async with alone("images"):
        if image := await _existing(sandbox, name):
            return image
        base = made_base() if parent and below == tag_of(parent, made_base()) else REGISTRY_BASE
        if below is None:
            below = base = await _base(sandbox, say)
        image = tag_of(name, base)
        say(f"Building the image {name}, once")
        with tempfile.TemporaryDirectory(prefix="agentcontainer-", dir="/var/tmp") as lent:
            suite = "bookworm" if base == REGISTRY_BASE else _suite()
            await to_the_end(asyncio.to_thread(_lend, Path(lent), suite))  # writes there: not while it is removed
            where = folder() / name
            await sandbox.build(
                where,
                where / "Containerfile",
                image,
                progress=_steps(name, say),
                labels={LABEL: name, MADE_FOR: image},
                args={"BASE": below, "APT_CONFIG": f"{LENT_AT}/apt.conf"},
                volumes=(f"{lent}:{LENT_AT}:ro",),
            )
        return image


def _steps(name: str, say: Say) -> Callable[[str], None]:
    """Says the steps of a build, and now and then one of the hundreds of packages that each installs."""
    unpacked = 0

    def progress(line: str) -> None:
        nonlocal unpacked
        if line.startswith(("STEP ", "Need to get ", "E: ")):
            say(f"{name}: {' '.join(line.split())[:160]}")
        elif line.startswith("Unpacking "):
            unpacked += 1
            if unpacked % 50 == 0:
                say(f"{name}: {unpacked} packages unpacked")

    return progress


def told(line: str) -> tuple[str, str] | None:
    """What a line that was said means for people: the image, and `Building image coding, step 3 of 4`."""
    if found := re.match(r"(\S+): STEP (\d+)/(\d+): ", line):
        return found[1], f"Building image {found[1]}, step {found[2]} of {found[3]}"
    if found := re.match("Building the image ([^,]+)", line):
        return found[1], f"Building image {found[1]}"
    return None


# The base


async def _base(sandbox: Sandbox, say: Say) -> str:
    """Debian from the registry when it is here or there to be had, else one made of this machine's own distribution."""
    for base in (REGISTRY_BASE, made_base()):
        if await sandbox.image_id(base):
            return base
    with contextlib.suppress(SandboxError, TimeoutError):
        # Bounded here as well: looking up a name knows no timeout.
        if await asyncio.wait_for(asyncio.to_thread(_registry_answers), REGISTRY_SECONDS + 1):
            say(f"Pulling {REGISTRY_BASE}")
            await asyncio.wait_for(sandbox.pull(REGISTRY_BASE, _unsaid), PULL_SECONDS)
            return REGISTRY_BASE
    await _make_base(sandbox, say)
    return made_base()


def _unsaid(line: str) -> None:
    """What an error needs of it, the error has."""


def made_base() -> str:
    return f"localhost/agentcontainer-base:{_suite()}-{_digest(platform.machine().encode(), *_contents('base'))}"


def _registry_answers() -> bool:
    """Whether a registry is there at all; 401 is how one says hello. Anything else may be a proxy's own page."""
    try:
        with urllib.request.urlopen(REGISTRY, timeout=REGISTRY_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


async def _make_base(sandbox: Sandbox, say: Say) -> None:
    if not shutil.which("mmdebstrap"):
        raise SandboxError("No container registry answers, and mmdebstrap, which can do without one, is not installed.")
    say(f"No container registry answers: making a base of {_suite()}'s own packages, once")
    # Not under the home, which may be closed to the sub-ids that mmdebstrap works with; not in memory either.
    with tempfile.TemporaryDirectory(prefix="agentcontainer-", dir="/var/tmp") as temporary:
        context, containerfile = Path(temporary), folder() / "base" / "Containerfile"
        await _run(await asyncio.to_thread(_mmdebstrap, context / "root.tar"))
        await sandbox.build(
            context, containerfile, made_base(), progress=_unsaid, labels={LABEL: "base", MADE_FOR: made_base()}
        )


def _mmdebstrap(archive: Path) -> list[str]:
    """What Debian's own slim image has: no manuals, no translations; and no trace of this machine."""
    kept = ["path-exclude=/usr/share/" + part for part in ("man/*", "info/*", "locale/*", "doc/*")]
    dpkg = [f"--dpkgopt={option}" for option in (*kept, "path-include=/usr/share/doc/*/copyright")]
    apt = [f"--aptopt={option}" for option in _acquire()]
    traces = '"$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"'
    options = ["--quiet", "--variant=minbase", *dpkg, *apt, f"--customize-hook=rm -f {traces}"]
    return ["mmdebstrap", *options, _suite(), str(archive), *_sources(_suite())]


async def _run(argv: list[str]) -> None:
    running = await asyncio.create_subprocess_exec(
        *argv,
        cwd="/",
        env={**os.environ, "TMPDIR": "/var/tmp"},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        said, _ = await running.communicate()
    finally:
        if running.returncode is None:
            os.killpg(running.pid, signal.SIGTERM)  # mmdebstrap then removes what it has made
            await running.wait()
    if running.returncode:
        raise SandboxError(f"{argv[0]} failed ({running.returncode}): {said.decode(errors='replace').strip()[-2000:]}")


# This machine's distribution and its apt, lent to a build


def _distribution() -> str:
    """As apt's `Origin` has it."""
    return "Ubuntu" if "UBUNTU_CODENAME" in _os_release() else "Debian"


def _suite() -> str:
    return _os_release().get("UBUNTU_CODENAME") or _os_release().get("VERSION_CODENAME") or "stable"


@functools.cache
def _os_release() -> dict[str, str]:
    return platform.freedesktop_os_release()


def _lend(lent: Path, suite: str) -> None:
    """apt settings while a build runs: this machine's sources (for `suite`), proxy and CA. The image keeps none."""
    lines = _acquire()
    if sources := _sources(suite):
        (lent / "sources.list").write_text("\n".join(sources) + "\n")
        lines += [f'Dir::Etc::sourcelist "{LENT_AT}/sources.list"', 'Dir::Etc::sourceparts "/dev/null"']
    if CA_BUNDLE.exists():
        shutil.copyfile(CA_BUNDLE, lent / "ca.crt")
        lines.append(f'Acquire::https::CAInfo "{LENT_AT}/ca.crt"')
    (lent / "apt.conf").write_text("".join(f"{line};\n" for line in lines))
    for path in (lent, *lent.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _sources(suite: str) -> list[str]:
    """Where this machine gets its own distribution, here for `suite`; empty if apt does not say: defaults will do."""
    if suite != _suite() and _distribution() == "Ubuntu":
        return []
    wanted = ("--format", "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)")
    lines = _said("apt-get", "indextargets", *wanted, "Created-By: Packages").splitlines()
    found = [words for words in map(str.split, lines) if len(words) == 4]
    parts = {f"{_suite()}{part}": f"{suite}{part}" for part in ("", "-updates", "-security")}
    official = [words[1:] for words in found if words[0] == _distribution() and words[2] in parts]
    ours = {(uri, parts[name], component) for uri, name, component in official}
    return [f"deb {uri} {release} {component}" for uri, release, component in sorted(ours)]


def _acquire() -> list[str]:
    """How this machine's apt fetches: proxies, dates that it does not check; nothing that names a file of ours."""
    dumped = _said("apt-config", "dump", "--format", '%F "%v"%n', "Acquire").splitlines()
    wanted = re.compile(r'Acquire::(https?::\S+|Check-\S+|Retries|ForceIPv\d) "[^"]+"')
    return [line for line in dumped if wanted.fullmatch(line) and "Auto-Detect" not in line and "CAInfo" not in line]


def _said(*argv: str) -> str:
    """Nothing where there is no apt."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
