"""The images of the standard containers, built from images/<name>/Containerfile. The tag is a hash of the content."""

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
# label with the image's tag; images built on it inherit the label, but not the tag
MADE_FOR = "agentcontainer.made-for"
REGISTRY_BASE = "docker.io/library/debian:bookworm-slim"
REGISTRY = f"https://index.{REGISTRY_BASE.partition('/')[0]}/v2/"
REGISTRY_SECONDS = 4
PULL_SECONDS = 120
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# Our apt settings are mounted here during the build. Every distribution has this directory, so no trace is left in the
# image.
LENT_AT = "/mnt"

Say = Callable[[str], None]


# Which image


async def ensure(sandbox: Sandbox, name: str, say: Say) -> str:
    """Returns the image's name, and builds the image if it is missing. That takes minutes; all callers wait, even in
    other processes."""
    return await _existing(sandbox, name) or await _built(sandbox, name, say)


def tag_of(name: str, base: str = REGISTRY_BASE) -> str:
    """The image's name. Its tag is a hash of its folder's content and of the images below it."""
    parent = parent_of(name)
    below = tag_of(parent, base) if parent else base
    return f"localhost/agentcontainer-{name}:{_digest(below.encode(), *_contents(name))}"


def parent_of(name: str) -> str | None:
    """The standard image that this one's Containerfile builds on, or None."""
    text = (folder() / name / "Containerfile").read_text()
    found = re.search(r"^ARG BASE=localhost/agentcontainer-(\S+)$", text, re.MULTILINE)
    return found and found[1]


@functools.cache
def folder() -> Path:
    """The images/ directory of a checkout or of the installed package."""
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
    # One build at a time: images share layers, and a build takes most of the machine.
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
            # shielded: the thread writes here, so the directory must not be removed before it ends
            await to_the_end(asyncio.to_thread(_lend, Path(lent), suite))
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
    """Reports the steps of a build, and every 50th package that it unpacks."""
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
    """The image and a message such as `Building image coding, step 3 of 4`. None for lines without news."""
    if found := re.match(r"(\S+): STEP (\d+)/(\d+): ", line):
        return found[1], f"Building image {found[1]}, step {found[2]} of {found[3]}"
    if found := re.match("Building the image ([^,]+)", line):
        return found[1], f"Building image {found[1]}"
    return None


# The base


async def _base(sandbox: Sandbox, say: Say) -> str:
    """Debian's image if it is here or the registry answers; else an image made from this machine's distribution."""
    for base in (REGISTRY_BASE, made_base()):
        if await sandbox.image_id(base):
            return base
    with contextlib.suppress(SandboxError, TimeoutError):
        # limited here as well, because resolving a name has no timeout
        if await asyncio.wait_for(asyncio.to_thread(_registry_answers), REGISTRY_SECONDS + 1):
            say(f"Pulling {REGISTRY_BASE}")
            await asyncio.wait_for(sandbox.pull(REGISTRY_BASE, _unsaid), PULL_SECONDS)
            return REGISTRY_BASE
    await _make_base(sandbox, say)
    return made_base()


def _unsaid(line: str) -> None:
    """Ignores the line. If the command fails, the error has its last lines."""


def made_base() -> str:
    return f"localhost/agentcontainer-base:{_suite()}-{_digest(platform.machine().encode(), *_contents('base'))}"


def _registry_answers() -> bool:
    """Whether a registry answers: its first answer is 401. Anything else may be a proxy's own page."""
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
    # not below the home, which may be closed to the subordinate ids that mmdebstrap uses, and not in memory
    with tempfile.TemporaryDirectory(prefix="agentcontainer-", dir="/var/tmp") as temporary:
        context, containerfile = Path(temporary), folder() / "base" / "Containerfile"
        await _run(await asyncio.to_thread(_mmdebstrap, context / "root.tar"))
        await sandbox.build(
            context, containerfile, made_base(), progress=_unsaid, labels={LABEL: "base", MADE_FOR: made_base()}
        )


def _mmdebstrap(archive: Path) -> list[str]:
    """The command for an image like Debian's slim one: no manuals and translations, and no traces of this machine."""
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
            os.killpg(running.pid, signal.SIGTERM)  # mmdebstrap then removes what it has written
            await running.wait()
    if running.returncode:
        raise SandboxError(f"{argv[0]} failed ({running.returncode}): {said.decode(errors='replace').strip()[-2000:]}")


# This machine's distribution and its apt, lent to a build


def _distribution() -> str:
    """The name that apt uses as `Origin`."""
    return "Ubuntu" if "UBUNTU_CODENAME" in _os_release() else "Debian"


def _suite() -> str:
    return _os_release().get("UBUNTU_CODENAME") or _os_release().get("VERSION_CODENAME") or "stable"


@functools.cache
def _os_release() -> dict[str, str]:
    return platform.freedesktop_os_release()


def _lend(lent: Path, suite: str) -> None:
    """Writes apt settings for the build: this machine's sources (for `suite`), proxy and CA certificates."""
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
    """This machine's package sources of its distribution, for `suite`. Empty if apt reports none; then apt's defaults
    are used."""
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
    """This machine's apt settings for downloads: proxies and date checks, without names of local files."""
    dumped = _said("apt-config", "dump", "--format", '%F "%v"%n', "Acquire").splitlines()
    wanted = re.compile(r'Acquire::(https?::\S+|Check-\S+|Retries|ForceIPv\d) "[^"]+"')
    return [line for line in dumped if wanted.fullmatch(line) and "Auto-Detect" not in line and "CAInfo" not in line]


def _said(*argv: str) -> str:
    """The output of the command; empty if it is missing or fails."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
