"""The bundle that is mounted read-only into every container: Node, Pi, the guest, and a warm compile cache."""

import base64
import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agentcontainer_local.errors import Unavailable
from agentcontainer_local.guest_contract import MOUNT
from agentcontainer_local.pi import node
from agentcontainer_local.pi.node import Node
from agentcontainer_local.process import entry_point, file_lock, resources

GUEST = resources.PACKAGE / "guest_runtime"
PI = "@earendil-works/pi-coding-agent"
# Only for a host with glibc < 2.34, where looking up names is done by libraries that are loaded when needed.
NAME_LOOKUP = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")

Say = Callable[[str], None]
Packages = dict[str, dict[str, Any]]  # npm.lock.json, in the words of npm's own lock files


def prepare(cache: Path, say: Say, guest: Path = GUEST) -> Path:
    """The runtime's directory under `cache`, made when it is not there yet (some seconds); `say` gets the steps."""
    version, lock = node.version(), json.loads((guest / "npm.lock.json").read_text())
    shipped, building = _packages(lock, dev=False), _packages(lock, dev=True)
    runtime = cache / "runtime" / _key(version.encode(), *_contents(guest))
    if runtime.is_dir():
        return runtime
    with file_lock.held(cache / "lock"), node.at_hand(cache, say) as tools:
        built = _made_once(cache / "node" / _key(version.encode()), lambda new: _build_node(new, tools(), say))
        pi = _made_once(cache / "pi" / _key(_json(shipped)), lambda new: _build_pi(new, shipped, tools(), say))
        esbuild = _made_once(cache / "esbuild" / _key(_json(building)), lambda new: _unpack_all(new, building, tools()))
        _made_once(runtime, lambda new: _assemble(new, built, pi, esbuild, guest, say))
        _remove_all_but(built, pi, esbuild)
    return runtime


def catalog(runtime: Path) -> dict[str, list[str]]:
    """The ids of the models that this runtime's Pi knows, by provider."""
    known: dict[str, list[str]] = json.loads((runtime / "catalog.json").read_text())
    return known


def allow_uid(runtime: Path, uid: int) -> None:
    """Let a container that runs as `uid` use the compile cache: Node looks only in a folder named after its own uid."""
    for folder in (runtime / "cache" / "compile").glob("*-0"):
        with contextlib.suppress(FileExistsError):
            (folder.parent / f"{folder.name[:-1]}{uid}").symlink_to(folder.name)


def _packages(lock: Packages, dev: bool) -> Packages:
    """Those of the lock file that a runtime has, or (`dev`) those that only its preparation needs."""
    cpu = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine())
    return {name: it for name, it in lock.items() if it.get("dev", False) is dev and it.get("cpu", cpu) == cpu}


def _json(packages: Packages) -> bytes:
    return json.dumps(packages).encode()


def _remove_all_but(*kept: Path) -> None:
    """Former versions of the parts; runtimes that were made of them have links of their own to the same files."""
    for old in {path for part in kept for path in part.parent.iterdir()} - set(kept):
        shutil.rmtree(old)


def _key(*parts: bytes) -> str:
    """Names a directory after what goes into it, this module's own text included."""
    digest = hashlib.sha256()
    for part in (platform.machine().encode(), Path(__file__).with_suffix(".py").read_bytes(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _contents(folder: Path) -> Iterator[bytes]:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(file.relative_to(folder)).encode()
        yield file.read_bytes()


def _made_once(path: Path, build: Callable[[Path], None]) -> Path:
    """`path`, complete or not at all: built beside it, synced, renamed. The caller holds the lock."""
    if path.is_dir():
        return path
    path.parent.mkdir(exist_ok=True)
    for left_behind in path.parent.glob(".making-*"):
        shutil.rmtree(left_behind)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-", ignore_cleanup_errors=True) as making:
        new = Path(making) / MOUNT.lstrip("/")
        new.mkdir(parents=True)
        build(new)
        _open_to_all(new)
        new.rename(path)
    return path


def _open_to_all(tree: Path) -> None:
    """An agent's uid owns nothing here and must read all of it, whatever our umask; power loss must not cut a file."""
    for path in [tree, *tree.rglob("*")]:
        if path.is_symlink():
            continue
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        opened = os.open(path, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def _build_node(new: Path, tools: Node, say: Say) -> None:
    """Node with all that it loads, the loader and libc too: so it runs in any image, whatever libc that has.

    The host's libstdc++ asks for the host's glibc: with libstdc++ alone, an image would need a glibc as new as ours.
    DT_RPATH (not RUNPATH) goes before LD_LIBRARY_PATH, so an image that sets that cannot break Node; and what Node
    starts inherits nothing.
    """
    say(f"Preparing Node {node.version()}")
    (new / "libexec").mkdir()
    (new / "lib").mkdir()
    program, patchelf = new / "libexec" / "node", str(tools.patchelf)
    shutil.copy(tools.program, program)
    loading = entry_point.loading() or [_output([patchelf, "--print-interpreter", str(program)]).strip()]
    loader = Path(loading[0])
    for library in [loader, *_libraries(loading, program)]:
        shutil.copy(library, new / "lib" / library.name)
    lib = f"{MOUNT}/lib"
    _output([patchelf, "--set-interpreter", f"{lib}/{loader.name}", "--force-rpath", "--set-rpath", lib, str(program)])


def _libraries(loading: list[str], program: Path) -> list[Path]:
    listed = [line.split() for line in _output([*loading, "--list", str(program)]).splitlines()]
    missing = [words[0] for words in listed if words[1:3] == ["=>", "not"]]
    if missing:
        raise Unavailable(f"Node needs {' and '.join(missing)}: install libstdc++6 (Debian, Ubuntu) and start again.")
    found = [Path(words[2]) for words in listed if words[1:2] == ["=>"]]
    libc = next(path for path in found if path.name.startswith("libc."))
    return [*found, *(path for name in NAME_LOOKUP if (path := libc.with_name(name)).exists())]


def _build_pi(new: Path, packages: Packages, tools: Node, say: Say) -> None:
    """Pi's self-contained bundle, what it loads beside it (jiti for extensions, photon for pictures), and the `skills`
    command with its yaml.

    `npm install` of Pi 1.5.2 fails, so each is unpacked by itself.
    """
    say(f"Fetching Pi {packages[PI]['version']} from the npm registry")
    with tempfile.TemporaryDirectory(dir=new.parent) as downloads:
        _unpack(_packed(PI, packages[PI], Path(downloads), tools), new, ("package.json", "dist/bundle/"))
    _unpack_all(new, {name: pinned for name, pinned in packages.items() if name != PI}, tools)


def _unpack_all(new: Path, packages: Packages, tools: Node) -> None:
    with tempfile.TemporaryDirectory(dir=new.parent) as downloads:
        for name, pinned in packages.items():
            _unpack(_packed(name, pinned, Path(downloads), tools), new / "node_modules" / name)


def _packed(name: str, pinned: dict[str, Any], folder: Path, tools: Node) -> bytes:
    """The package as the registry has it, whose bytes are those that the lock file names."""
    exact = f"{name}@{pinned['version']}"
    patience = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    options = ["--cache", f"{folder}/npm", "--pack-destination", str(folder), "--loglevel=error", *patience]
    # Behind a proxy that opens TLS, the machine's own store has its CA; NODE_EXTRA_CA_CERTS and npm's cafile work too.
    environment = {"NODE_USE_SYSTEM_CA": "1", **os.environ}
    argv = [*entry_point.loading(), str(tools.program), str(tools.npm), "pack", "--json", exact, *options]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(
            f"npm could not fetch {exact}. The first start needs the npm registry (npm's own settings for a proxy, "
            f"a mirror or a CA apply); later ones do not. npm says: {done.stderr.strip()[-1000:]}"
        )
    filename: str = json.loads(done.stdout)[0]["filename"]
    tarball = (folder / filename).read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if found != pinned["integrity"]:
        raise Unavailable(f"{exact} from the npm registry is not what npm.lock.json pins: {found}.")
    return tarball


def _unpack(tarball: bytes, folder: Path, only: tuple[str, ...] = ("",)) -> None:
    """A package's files whose names begin with one of `only`, without the first folder of their names (`package/`)."""
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            if name.startswith(only) and member.isfile() and (content := archive.extractfile(member)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content.read())
                (folder / name).chmod(member.mode)


def _assemble(new: Path, node: Path, pi: Path, esbuild: Path, guest: Path, say: Say) -> None:
    shutil.copytree(node, new, copy_function=os.link, dirs_exist_ok=True)
    shutil.copytree(pi, new / "pi", copy_function=os.link)
    shutil.copytree(guest, new / "guest", ignore=shutil.ignore_patterns("bin", "npm.lock.json"))
    shutil.copytree(guest / "bin", new / "bin")
    for command in (new / "bin").iterdir():
        command.chmod(0o755)  # an installed package may have lost it
    say("Warming Pi's compile cache and making its snapshot")
    _warm(new, esbuild, say)


def _warm(new: Path, esbuild: Path, say: Say) -> None:
    """Run Pi at the path that containers see (the cache goes by it): in a root folder with nothing but the runtime, and
    esbuild for the snapshot."""
    root = new.parent.parent
    shutil.copytree(esbuild, root / "esbuild", copy_function=os.link)
    for folder in ("tmp", "workspace", "var/lib/agentcontainer", "run/agentcontainer"):
        (root / folder).mkdir(parents=True)
    # Rootless, `podman unshare` is the one way to a root folder that also works where only Podman may make namespaces.
    unshare = [] if os.geteuid() == 0 else ["podman", "unshare"]
    warm = [_chroot(), str(root), f"{MOUNT}/libexec/node", f"{MOUNT}/guest/warm.mjs"]
    (new / "cache").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_RUNTIME_DIR", "USER") if name in os.environ}
    found = json.loads(
        _output([*unshare, *warm], cwd="/", env={**kept, "NODE_COMPILE_CACHE": f"{MOUNT}/cache/compile"})
    )
    (new / "catalog.json").write_text(json.dumps(found["catalog"]))
    if found["noSnapshot"]:
        say(f"Pi has no snapshot, so tasks start more slowly: {found['noSnapshot']}")


def _chroot() -> str:
    return shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "chroot"


def _output(argv: list[str], cwd: str | None = None, env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd, env=env)
        return done.stdout
    except FileNotFoundError as error:
        raise Unavailable(f"{argv[0]} is needed to make the runtime, and is not installed.") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip()[-2000:]
        raise Unavailable(f"The runtime could not be made: {' '.join(argv)} says: {said}") from error
