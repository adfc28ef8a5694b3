"""Slurm on a head and two nodes, from the distribution's packages, which are unpacked and not installed."""

import contextlib
import grp
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.machines import Machine, Network, made

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge")
ADDRESSES = {"head": "10.77.0.1", "n1": "10.77.0.11", "n2": "10.77.0.12"}
DOWN_SECONDS = 15  # SlurmdTimeout: a node that is silent for so long is given up
CONFIGURATION = """
ClusterName=trial
SlurmctldHost=head
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/run/slurmd
StateSaveLocation={folder}/controller
SlurmdTimeout={down}
SlurmctldTimeout=30
MessageTimeout=10
InactiveLimit=0
KillWait=2
MinJobAge=10
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmctldDebug=info
SlurmdDebug=info
NodeName=n1,n2 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=agents Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP LLN=YES OverSubscribe=NO AllowGroups={group}
"""


class Slurm:
    """The cluster; the host's server runs on `head`, as the account."""

    def __init__(self, folder: Path, machines: dict[str, Machine], network: Network, account: str):
        self.folder = folder
        self.machines = machines
        self.network = network
        self.account = account
        self.head, self.nodes = machines["head"], [machines["n1"], machines["n2"]]

    def start(self) -> None:
        for machine in self.machines.values():
            self._start_munge(machine)
        self.start_controller()
        for node in self.nodes:
            self.start_worker(node)
        self.until(lambda: self.states() == {"n1": "idle", "n2": "idle"})

    def start_controller(self) -> None:
        self._daemon(self.head, "slurmctld", "-D", "-s")

    def start_worker(self, node: Machine) -> None:
        self._daemon(node, "slurmd", "-D", "-s", "-N", node.name)

    def kill(self, machine: Machine, program: str) -> None:
        """With SIGKILL, this program and nothing that it started."""
        machine.run("pkill", "-KILL", "-x", program)

    def power_on(self, node: Machine) -> None:
        node.power_on()
        self.network.plug(node)
        self._start_munge(node)
        self.start_worker(node)

    def states(self) -> dict[str, str]:
        listed = self.head.run("sinfo", "-h", "-N", "-o", "%N %T", check=False).stdout.split()
        return dict(zip(listed[::2], listed[1::2], strict=True))

    def sbatch(self, *words: str, user: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.head.run("sbatch", *words, user=user or self.account, check=check)

    def jobs(self) -> list[str]:
        return self.head.run("squeue", "-h", "-o", "%i %j %T %N").stdout.splitlines()

    @staticmethod
    def until(true: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.1)

    def _start_munge(self, machine: Machine) -> None:
        machine.run("mkdir", "-p", "-m", "755", "/run/munge")
        words = ("munged", "--key-file=/etc/munge/munge.key", "--pid-file=/run/munge/munged.pid")
        machine.run(
            *words, "--socket=/run/munge/munge.socket.2", "--log-file=/run/munge/log", "--seed-file=/run/munge/seed"
        )

    def _daemon(self, machine: Machine, *words: str) -> None:
        with (self.folder / f"{machine.name}-{words[0]}.log").open("ab") as log:
            machine.start(*words, stdout=log, stderr=log)


def _unpacked(into: Path) -> None:
    """Their files in a folder, which machines see as a part of /usr."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        wanted = _wanted()
        subprocess.run(["apt-get", "-q", "download", *wanted], cwd=folder, check=True, capture_output=True)
        for archive in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, into], check=True)
    for name in ("slurmctld", "slurmd", "slurmstepd"):
        (into / "usr/sbin" / name).symlink_to(f"{name}-wlm")


def _wanted() -> list[str]:
    """The packages, and those of what they need that this machine does not have."""
    said = subprocess.run(
        ["apt-get", "-q", "--no-install-recommends", "-s", "install", *PACKAGES],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    new = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    return sorted({*new, *PACKAGES})


def _configured(folder: Path, group: str) -> None:
    etc = folder / "etc"
    (etc / "slurm").mkdir(parents=True)
    (etc / "munge").mkdir(mode=0o700)
    (etc / "munge/munge.key").write_bytes(secrets.token_bytes(1024))
    (etc / "munge/munge.key").chmod(0o400)
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for name, at in ADDRESSES.items()))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 // 2
    values = {"folder": folder, "down": DOWN_SECONDS, "cpus": os.cpu_count(), "memory": memory, "group": group}
    (etc / "slurm/slurm.conf").write_text(CONFIGURATION.format(**values))
    (folder / "controller").mkdir()


@contextlib.contextmanager
def started(account: str) -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="agentcontainer-cluster-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "packages").mkdir()
        (folder / "clone").mkdir()
        _unpacked(folder / "packages")
        _configured(folder, _group(account))
        with made(ADDRESSES, folder, account) as (machines, network):
            slurm = Slurm(folder, machines, network, account)
            slurm.start()
            yield slurm
    finally:
        shutil.rmtree(folder)


def _group(account: str) -> str:
    return grp.getgrgid(pwd.getpwnam(account).pw_gid).gr_name
