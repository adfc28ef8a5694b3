"""What an operator and the machine do to the server: one row of the table each."""

import re
import time
from dataclasses import dataclass

from tests.vm import user_unit
from tests.vm.api import KEY, SECONDS, SLEEP, Api, blocks, served, until
from tests.vm.machine import Failed, Machine
from tests.vm.rows import Rows

# Of the machine: a "public" host behind it, a metadata address, a local network; nothing leaves the machine.
NETWORK = """
ip netns list | grep -q pub && exit
ip netns add pub; ip link add v0 type veth peer name v1 netns pub
ip addr add 192.168.77.1/24 dev v0; ip link set v0 up
ip -n pub link set lo up; ip -n pub addr add 192.168.77.2/24 dev v1; ip -n pub link set v1 up
ip -n pub addr add 203.0.113.5/32 dev lo; ip -n pub route add default via 192.168.77.1
ip route add 203.0.113.5 via 192.168.77.2
ip link add meta type dummy; ip addr add 169.254.169.254/32 dev meta; ip link set meta up
serve='import socket, sys
s = socket.create_server((sys.argv[1], 8080))
while True: s.accept()[0].close()'
exec </dev/null >/dev/null 2>&1
for address in 10.0.2.15 169.254.169.254 192.168.77.1; do setsid python3 -c "$serve" $address & done
setsid ip netns exec pub python3 -c "$serve" 203.0.113.5 &
sleep 5
"""
KNOCK = (
    "for a in 203.0.113.5 10.0.2.15 169.254.169.254 192.168.77.1; do"
    ' timeout 15 bash -c "</dev/tcp/$a/8080" 2>/dev/null && echo open $a || echo closed $a; done'
)
STEPS = [f"echo {n} >> log; sleep 15" for n in range(20)]


@dataclass(frozen=True)
class Lives:
    """Three tasks that are to outlive what is done to their server."""

    running: str
    sleeping: str
    talking: str

    @classmethod
    def begun(cls, api: Api) -> "Lives":
        lives = cls(
            api.dispatch(blocks(*STEPS, finish="--complete-task --message Done log")),
            api.dispatch(SLEEP),
            api.converse(blocks("echo hello"), sessionTtlSeconds=7200),
        )
        api.wait(lives.sleeping, "hibernating")
        api.wait(lives.talking, "awaiting_input")
        api.wait(lives.running, "running")
        return lives

    def go_on(self, api: Api) -> str:
        """After something was done to the server: nothing ended, and the running one makes progress."""
        before = api.steps(self.running)
        statuses = [api.task(id)["status"] for id in (self.running, self.sleeping, self.talking)]
        if statuses[0] not in ("running", "pending") or statuses[1:] != ["hibernating", "awaiting_input"]:
            raise Failed(f"running, hibernating and conversing tasks are now {', '.join(statuses)}")
        until("the running task goes on", lambda: api.steps(self.running) > before, 300)
        return "running, hibernating and conversing tasks go on"

    def end(self, api: Api) -> str:
        """Each comes to its end, and did what it was told once."""
        api.call("POST", f"/tasks/{self.sleeping}/wake", {"kind": "external_wake"})
        api.call("POST", f"/conversations/{self.talking}/messages", {"content": blocks("echo again")})
        api.finished(self.sleeping)
        until("the conversation answers", lambda: "again" in api.said(self.talking), SECONDS)
        api.finished(self.running)
        lines = api.file(self.running, "log").split()
        if sorted(set(lines), key=int) != [str(n) for n in range(len(STEPS))] or len(lines) > len(STEPS) + 1:
            raise Failed(f"its steps were {lines}")
        return f"all three end well; {len(lines)} commands were run for {len(STEPS)} steps"


def play(vm: Machine, to: Rows) -> None:
    to.row("doctor without the account", lambda: _doctor_without_account(vm))
    to.row("install-service --system makes the account, and says why a start failed", lambda: _install(vm), True)
    vm.give_pi("agentcontainer", "/home/agentcontainer")
    to.row("system unit: starts, can map users, overlay", lambda: _system_unit(vm), True)
    to.row("doctor as root", lambda: _doctor(vm))
    vm.run(_as_account("podman load -q -i /opt/in/base.tar"), seconds=600)
    vm.run(NETWORK)
    lives: list[Lives] = []
    with served(vm, 3000) as api:
        to.row("main job; half a processor by cgroup; no network", lambda: _main_job(api))
        to.row(
            "limit of memory",
            lambda: _broken(
                api,
                "head -c 900M /dev/zero | tail -c 900M >/dev/null; sleep 30",
                "MB of memory|out of memory",
                memoryMb=256,
            ),
        )
        to.row(
            "limit of processes",
            lambda: _broken(api, "for i in $(seq 400); do sleep 60 & done; wait", "processes", processes=100),
        )
        to.row("network open: the public internet alone", lambda: _open_network(api))
        to.row("three tasks before restart, KILL and reboot", lambda: _begin(api, lives))
        to.row("restart of the server", lambda: _after(vm, "systemctl restart agentcontainer", api, lives[0]))
        to.row("KILL of the server", lambda: _after(vm, "systemctl kill -s KILL agentcontainer", api, lives[0]))
        agent = api.agent
    to.row("reboot of the machine", lambda: _reboot(vm))
    vm.run(NETWORK)
    with served(vm, 3000, agent) as api:
        to.row("reboot: what was at work", lambda: f"{lives[0].go_on(api)}; {lives[0].end(api)}")
        to.row("clock -1 h: a sleeper wakes; +1 h: no conversation expires", lambda: _clock(vm, api))
    vm.run("systemctl disable --now agentcontainer")
    user_unit.play(vm, to)


def versions(vm: Machine) -> str:
    wanted = "systemd podman crun passt slirp4netns"
    found = vm.run(f"dpkg-query -W -f '${{Package}} ${{Version}}\\n' {wanted} 2>/dev/null; true").splitlines()
    known = [" ".join(line.split()) for line in found if len(line.split()) == 2]
    return ", ".join([f"kernel {vm.run('uname -r')}", *known])


def _as_account(command: str) -> str:
    """As docs/operating.md tells an operator to run `podman` for the account of the system unit."""
    return f"runuser -l agentcontainer -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) {command}'"


# The system's unit


def _doctor_without_account(vm: Machine) -> str:
    before = vm.run("ls /run/user; id agentcontainer 2>&1; true")
    said = vm.both("agentcontainer doctor", seconds=600)
    if "MISSING" not in said or "useradd --create-home" not in said:
        raise Failed(said)
    if vm.run("ls /run/user; id agentcontainer 2>&1; true") != before:
        raise Failed("the doctor changed the machine")
    return "names the account and the command, and changes nothing"


def _install(vm: Machine) -> str:
    """The first start fails because it cannot reach the npm registry, as behind a closed firewall."""
    variables = f"AGENTCONTAINER_API_KEY={KEY} npm_config_registry=http://127.0.0.1:9"
    vm.run(f"umask 077; printf '%s\\n' {variables} > /etc/agentcontainer.env")
    command = "agentcontainer install-service --system --yes --environment-file /etc/agentcontainer.env"
    shown = vm.both(f"{command} --show")
    said = vm.both(command, seconds=900)
    home = vm.run(
        "getent passwd agentcontainer | cut -d: -f6; grep -c ^agentcontainer: /etc/subuid; ls /var/lib/systemd/linger"
    )
    if "useradd" not in shown or home.split() != ["/home/agentcontainer", "1", "agentcontainer"]:
        raise Failed(f"{home!r} {said}")
    if "does not run" not in said or "Pi" not in said:
        raise Failed(f"why the start failed was not said: {said}")
    return "useradd, sub-ids, linger; the log's end is shown"


def _system_unit(vm: Machine) -> str:
    vm.run("systemctl reset-failed agentcontainer; systemctl restart agentcontainer", seconds=900)
    return _unit_facts(vm)


def _unit_facts(vm: Machine) -> str:
    pid = vm.run("systemctl show -P MainPID agentcontainer")
    privileges = vm.run(f"grep NoNewPrivs /proc/{pid}/status").split()[1]
    driver = vm.run(_as_account("podman info --format {{.Store.GraphDriverName}}"))
    if (privileges, driver) != ("0", "overlay"):
        raise Failed(f"NoNewPrivs {privileges}, storage {driver}")
    return "NoNewPrivs 0, storage overlay"


def _doctor(vm: Machine) -> str:
    said = vm.both("agentcontainer doctor", seconds=600)
    if "MISSING" in said or not re.search(r"delegated controllers .*cpu.*memory.*pids", said):
        raise Failed(said)
    return "nothing is missing; cpu, memory and pids are delegated"


def _main_job(api: Api) -> str:
    commands = "cat /sys/fs/cgroup/cpu.max; ls /sys/class/net; cat /etc/hosts", "echo 6 > sum.txt"
    task = api.finished(
        api.dispatch(blocks(*commands, finish="--complete-task --message Six sum.txt"), limits={"cpus": 0.5})
    )
    said, by = api.said(task["id"]), {name: one["by"] for name, one in task["walls"]["limits"].items()}
    if api.file(task["id"], "sum.txt") != "6\n":
        raise Failed("the file is not what the agent wrote")
    if "50000 100000" not in said or {by[name] for name in ("cpus", "memoryMb", "processes")} != {"cgroup"}:
        raise Failed(f"{by} {said[:200]}")
    if "eth" in said or "tap" in said or "internal.example" in said or "host.containers.internal" in said:
        raise Failed(said)
    return "a file comes back; cpu.max is 50000 100000; only lo; no name of the host's"


def _broken(api: Api, command: str, words: str, **limits) -> str:
    task = api.wait(api.dispatch(blocks(command, finish="--complete-task --message Survived"), limits=limits))
    if task["status"] != "failed" or not re.search(words, task["error"] or ""):
        raise Failed(f"{task['status']}: {task['error']}")
    return task["error"]


def _open_network(api: Api) -> str:
    task = api.finished(
        api.dispatch(
            blocks(KNOCK, "grep -c nameserver /etc/resolv.conf", finish="--complete-task --message Done"),
            internetAccess=True,
        )
    )
    said = api.said(task["id"]).split()
    closed = [word for address in ("10.0.2.15", "169.254.169.254", "192.168.77.1") for word in ("closed", address)]
    if said != ["open", "203.0.113.5", *closed, "1"]:
        raise Failed(" ".join(said))
    return "the public host answers; the machine, its network and the metadata address do not; one nameserver"


def _begin(api: Api, lives: list[Lives]) -> str:
    lives.append(Lives.begun(api))
    return "one is running, one hibernating, one conversing"


def _after(vm: Machine, command: str, api: Api, lives: Lives) -> str:
    vm.run(command)
    until("the server is ready again", api.is_ready, 300)
    return lives.go_on(api)


def _reboot(vm: Machine) -> str:
    vm.reboot()
    with vm.forwarded(3000) as url:
        until("the server is ready again", Api(url, KEY).is_ready, 400)
    return _unit_facts(vm)


def _clock(vm: Machine, api: Api) -> str:
    """Both ways, and right again in the end; the sleeper's time is counted by a clock that nobody sets."""
    talking = api.converse(blocks("echo hello"), sessionTtlSeconds=900)
    sleeper = api.dispatch(blocks("hibernate --for 40s --message Soon", finish="--complete-task --message Awake"))
    api.wait(talking, "awaiting_input")
    api.wait(sleeper, "hibernating")
    vm.run("date -s '-1 hour'")
    try:
        api.finished(sleeper)
    finally:
        vm.run("date -s '+1 hour'")
    vm.run("date -s '+1 hour'")
    time.sleep(10)  # ten looks of the timers
    status = api.task(talking)["status"]
    vm.run("date -s '-1 hour'")
    if status != "awaiting_input":
        raise Failed(f"the conversation is {status}")
    return "the sleeper woke and finished while the clock was wrong; the conversation is open"
