"""Slurm, through its commands: https://slurm.schedmd.com/sbatch.html and related pages."""

import asyncio
import os
import re
import shlex
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Collection, Mapping, Sequence

from agentcontainer_local.scheduler import Job, Node, Refused, Resources, State, Unavailable

ANSWER_SECONDS = 30
SEPARATOR = "|"  # does not occur in our names and in node names
ENVIRONMENT = ("PATH", "HOME", "SLURM_CONF")  # passed from the server to the commands; a job gets PATH and HOME
STATES = {
    "PENDING": State.PENDING,
    "CONFIGURING": State.PENDING,
    "RUNNING": State.RUNNING,
    "SUSPENDED": State.RUNNING,
    "STOPPED": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
    "NODE_FAIL": State.NODE_LOST,
    "BOOT_FAIL": State.NODE_LOST,
    "PREEMPTED": State.PREEMPTED,
}  # every other one is an end: COMPLETED, COMPLETING, CANCELLED, FAILED, TIMEOUT, OUT_OF_MEMORY, DEADLINE, …
DOWN = ("DOWN", "DRAIN", "FAIL", "NOT_RESPONDING", "POWER", "MAINT", "REBOOT", "UNKNOWN", "INVAL")
# Of a node that answers, as `sinfo` says it: "idle", "mixed", "allocated", with flags such as "*" for no answer.
REFUSALS = (
    "invalid",
    "not permitted",
    "more processors",
    "more resources",
    "unrecognized",
    "configuration is not available",
)


class Slurm:
    """See scheduler.Scheduler. `options`: the operator's options for sbatch, such as --partition."""

    def __init__(self, store_id: str, options: Sequence[str] = (), environ: Mapping[str, str] = os.environ):
        self._prefix = f"ac-{store_id}-"
        self._options = tuple(options)
        self._environ = {name: environ[name] for name in ENVIRONMENT if name in environ}

    async def submit(
        self, run_id: str, command: Sequence[str], resources: Resources, *, exclude: Collection[str] = ()
    ) -> str:
        words = [
            "sbatch",
            "--parsable",
            f"--job-name={self._prefix}{run_id}",
            "--no-requeue",
            "--export=PATH,HOME",
            "--chdir=/",
            "--output=/dev/null",
            f"--cpus-per-task={resources.cpus}",
            f"--mem={resources.memory_mb}M",
            f"--time={-(-resources.seconds // 60)}",
            *([f"--exclude={','.join(sorted(exclude))}"] if exclude else []),
            *self._options,
        ]
        said = await self._asked(*words, script=f"#!/bin/sh\nexec {shlex.join(command)}\n")
        return said.strip().partition(";")[0]

    async def cancel(self, run_id: str) -> None:
        await self._asked("scancel", "--quiet", f"--name={self._prefix}{run_id}", "--full")

    async def jobs(self) -> dict[str, Job]:
        wanted = SEPARATOR.join(("%j", "%A", "%T", "%N", "%r"))
        said = await self._asked("squeue", "--me", "--noheader", "--states=all", f"--format={wanted}", "--sort=i")
        found = [self._job(line) for line in said.splitlines() if line.startswith(self._prefix)]
        return {job.run_id: job for job in found}

    async def nodes(self) -> list[Node]:
        partition = [word for word in self._options if word.startswith(("--partition=", "-p"))]
        said = await self._asked("sinfo", "--noheader", "--Node", *partition, f"--format=%N{SEPARATOR}%T{SEPARATOR}%E")
        rows = dict.fromkeys(tuple(line.split(SEPARATOR, 2)) for line in said.splitlines())  # one per partition
        return [_node(*row) for row in rows]

    async def lost_seconds(self) -> int:
        said = await self._asked("scontrol", "show", "config")
        found = re.search(r"^SlurmdTimeout\s*=\s*(\d+)", said, re.MULTILINE)
        if found is None:
            raise Unavailable("scontrol show config: no SlurmdTimeout in it")
        return int(found[1])

    def _job(self, line: str) -> Job:
        name, id, state, node, reason = line.split(SEPARATOR, 4)
        said = "" if reason == "None" else reason
        ended = state not in STATES and state != "COMPLETED"
        return Job(
            id, name.removeprefix(self._prefix), STATES.get(state, State.ENDED), node or None,
            f"{state.lower()}: {said}".removesuffix(": ") if ended else said,
        )  # fmt: skip

    async def _asked(self, *words: str, script: str = "") -> str:
        """The command's output. Raises Unavailable if it does not answer, and Refused if it refuses the job."""
        try:
            process = await asyncio.create_subprocess_exec(
                *words, env=self._environ, stdin=PIPE if script else DEVNULL, stdout=PIPE,
                stderr=PIPE,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"Slurm's {words[0]} could not be started: {error}. Install slurm-client.") from error
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                printed, complaint = await process.communicate(script.encode() or None)
        except TimeoutError:
            raise Unavailable(f"Slurm's {words[0]} did not answer for {ANSWER_SECONDS} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise _error(words[0], complaint.decode(errors="replace").strip())
        return printed.decode(errors="replace")


def _error(command: str, said: str) -> Unavailable | Refused:
    words = f"{command}: {said or 'failed without a word'}"
    refused = command == "sbatch" and any(one in said.lower() for one in REFUSALS)
    return Refused(words) if refused else Unavailable(words)


def _node(name: str, state: str, reason: str) -> Node:
    up = not state.endswith(("*", "~", "#", "%", "!", "@", "^", "$")) and not state.upper().startswith(DOWN)
    return Node(name, up, "" if up else f"{state}: {reason}".removesuffix(": none"))
