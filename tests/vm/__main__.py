"""`./dev vm [debian-12|debian-13]`: the one file on a machine as users have it, installed and tried by an operator."""

import argparse
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.vm import image, machine, scenario
from tests.vm.rows import Rows

NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "mke2fs": "e2fsprogs",
}


def main() -> int:
    asked = argparse.ArgumentParser(prog="./dev vm", description=__doc__)
    asked.add_argument("release", nargs="?", choices=sorted(image.SUITES), default="debian-13")
    asked.add_argument("--accel", choices=("tcg", "kvm"), default="tcg", help="how QEMU runs it (default: tcg)")
    asked.add_argument("--keep", action="store_true", help="leave the machine running, and say how to log in")
    asked.add_argument(
        "--only", metavar="WORD", help="only the rows with this word in their name, and the installation"
    )
    options = asked.parse_args()
    lacking = [package for program, package in NEEDED.items() if _which(program) is None]
    if lacking:
        print(
            "vm: this machine has no QEMU, or lacks a part of it. Install it with:"
            f" sudo apt-get install --no-install-recommends {' '.join(lacking)}",
            file=sys.stderr,
        )
        return 3
    began = time.monotonic()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "agentcontainer-dev", "vm", options.release)
    image.ensure(home, image.SUITES[options.release])
    rows = Rows(options.only)
    with machine.running(home, options.accel, options.keep) as vm:
        versions = scenario.versions(vm)
        try:
            scenario.play(vm, rows)
        except (machine.Failed, httpx.HTTPError) as error:
            rows.stopped(error)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{options.release}: {versions}; {datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes ({options.accel})\n")
    print(rows.markdown())
    print(f"\n{len(rows.rows) - rows.failed()} passed, {rows.failed()} failed")
    return 1 if rows.failed() else 0


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


if __name__ == "__main__":
    sys.exit(main())
