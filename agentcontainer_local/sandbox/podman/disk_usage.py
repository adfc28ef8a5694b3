"""Measures the bytes of containers on disk and in memory files. `podman unshare` runs it, because it may read both.

stdin: JSON, a list of {"paths": […], "pids": […]}; stdout: JSON, for each of them {"disk": bytes, "memory": bytes,
"seconds": duration of the measurement}.

It may import only the standard library.
"""

import contextlib
import json
import os
import stat
import subprocess
import sys
import time


def disk(paths: list[str]) -> int:
    """The bytes below these paths, within one file system each. Missing paths count as 0."""
    words = ["du", "--summarize", "--total", "--one-file-system", "--block-size=1", "--", *paths]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    last = said.splitlines()[-1:] or [b"0"]
    return int(last[0].split()[0])


def unseen(pids: list[int]) -> tuple[int, int]:
    """Bytes that no directory lists: open deleted files on disk, and memory files."""
    on_disk: dict[tuple[int, int], int] = {}
    in_memory: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                _look(entry.path, on_disk, in_memory)
    return sum(on_disk.values()), sum(in_memory.values())


def _look(path: str, on_disk: dict[tuple[int, int], int], in_memory: dict[tuple[int, int], int]) -> None:
    with contextlib.suppress(OSError):
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
            memory = os.readlink(path).startswith(("/memfd:", "/dev/shm/"))
            (in_memory if memory else on_disk)[found.st_dev, found.st_ino] = found.st_blocks * 512


def main() -> None:
    answers = []
    for asked in json.load(sys.stdin):
        began = time.monotonic()
        deleted, memory = unseen(asked["pids"])
        found = {"disk": disk(asked["paths"]) + deleted, "memory": memory}
        answers.append(found | {"seconds": time.monotonic() - began})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
