"""The disk of a Debian with systemd, cgroups v2 and Podman, on which the one file is installed; made without root."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from agentcontainer_local.sandbox.podman import standard_images

CLONE = Path(__file__).parents[2]
SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
NETWORK = {"bookworm": "slirp4netns", "trixie": "passt"}
PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "kmod",
    "udev",
    "podman",
    "crun",
    "uidmap",
    "catatonit",
    "netavark",
    "aardvark-dns",
    "ca-certificates",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
)
FILES = {
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost machine\n::1 localhost\n192.0.2.77 internal.example\n",
    "etc/fstab": "/dev/vda / ext4 defaults,noatime 0 1\n",
    "etc/systemd/network/10-all.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\nsearch internal.example\n",
}
# As an installation would leave it: two accounts with a password each, services that start, a journal that is kept.
CUSTOMIZE = """
set -e
chroot "$1" useradd --create-home --shell /bin/bash alice
install -d -m 700 "$1/root/.ssh" "$1/home/alice/.ssh"
install -m 600 key.pub "$1/root/.ssh/authorized_keys"
install -m 600 key.pub "$1/home/alice/.ssh/authorized_keys"
chroot "$1" chown -R alice:alice /home/alice/.ssh
chroot "$1" systemctl enable systemd-networkd
mkdir -p "$1/var/log/journal" "$1/opt/in" "$1/etc/systemd/network"
cp -r files/. "$1/"
install -m 755 agentcontainer "$1/usr/local/bin/agentcontainer"
install -m 644 base.tar cache.tar "$1/opt/in/"
"""


def ensure(work: Path, suite: str) -> None:
    """Leaves `disk.img`, `kernel`, `initrd` and `key` in `work`. It takes minutes, but once."""
    work.mkdir(parents=True, exist_ok=True)
    made_of = work / "made-of"
    if made_of.is_file() and made_of.read_text() == _code():
        return
    made_of.unlink(missing_ok=True)
    executable = work / "agentcontainer"
    _say("The executable")
    with executable.open("wb") as file:
        subprocess.run([sys.executable, str(CLONE / ".binary/build.py")], stdout=file, check=True)
    executable.chmod(0o755)
    _make(work, suite, executable)
    made_of.write_text(_code())


def _code() -> str:
    """A digest of all that the executable and the disk are made of."""
    folders = ("agentcontainer_local", "images", ".binary")
    files = sorted(
        path for folder in folders for path in (CLONE / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"
    )
    digest = hashlib.sha256()
    for file in [*files, CLONE / "migrations.sql", CLONE / "requirements.lock", Path(__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _make(work: Path, suite: str, executable: Path) -> None:
    (work / "key").unlink(missing_ok=True)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(work / "key"))
    _say("Debian's packages")
    root = work / "root.tar"
    with tempfile.TemporaryDirectory(prefix="agentcontainer-vm-", dir="/var/tmp") as temporary:
        given = Path(temporary)
        given.chmod(0o755)  # mmdebstrap works with the account's sub-ids
        for name, text in FILES.items():
            file = given / "files" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        shutil.copy(executable, given / "agentcontainer")
        shutil.copy(work / "key.pub", given / "key.pub")
        _say("The base image and Pi, in place of registries")
        _run("podman", "save", "--quiet", "-o", str(given / "base.tar"), standard_images.made_base())
        _fill_cache(executable, given)
        (given / "customize").write_text(CUSTOMIZE)
        packages = ",".join((*PACKAGES, NETWORK[suite]))
        hook = f'cd {given} && sh ./customize "$1"'
        _run(
            "mmdebstrap",
            "--quiet",
            "--variant=apt",
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--aptopt={option}" for option in standard_images._acquire()),
            f"--include={packages}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--customize-hook={hook}",
            suite,
            str(root),
            *standard_images._sources(suite),
        )
    _say("The disk")
    _run("podman", "unshare", "sh", "-ec", _DISK, "sh", str(work))
    root.unlink()


# In the account's user namespace, where root's files are root's.
_DISK = """
cd "$1"; rm -rf root disk.img; mkdir root
tar -C root -xpf root.tar --exclude='./dev/*' --xattrs --xattrs-include='*'     # devices are the kernel's affair
cp root/boot/vmlinuz-* kernel; cp root/boot/initrd.img-* initrd
truncate -s 14G disk.img
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -d root -F disk.img
rm -rf root
"""


def _fill_cache(executable: Path, given: Path) -> None:
    """By one start of the executable: what it fetches from the npm registry the first time."""
    cache = given / "cache"
    command = [str(executable), "serve", "--port", "0", "--data", str(given / "data"), "--cache", str(cache)]
    environ = {**os.environ, "XDG_CACHE_HOME": str(given / "program")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as server:
        ready = next((line for line in server.stdout if "is ready at" in line), None)
        server.send_signal(signal.SIGTERM)
    if ready is None:
        raise SystemExit("vm: the executable did not start on this machine; what it said is above")
    _run("tar", "-C", str(cache), "-cf", str(given / "cache.tar"), ".")
    for left in ("cache", "data", "program"):
        shutil.rmtree(given / left)


def _run(*words: str) -> None:
    done = subprocess.run(words, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"vm: {words[0]} failed ({done.returncode}):\n{done.stdout.decode(errors='replace')[-3000:]}")


def _say(what: str) -> None:
    print(f"vm: {what}", file=sys.stderr, flush=True)
