"""The same server as an ordinary user's own unit, and in a session that ends."""

from tests.vm.api import KEY, SLEEP, Api, blocks, served, until
from tests.vm.machine import Failed, Machine
from tests.vm.rows import Rows

LONG = [f"echo {n}; sleep 10" for n in range(16)]
TRIES = ["timeout 15 bash -c '</dev/tcp/203.0.113.5/8080' && echo open || echo closed; sleep 5"] * 12


def play(vm: Machine, to: Rows) -> None:
    if not to.wants("user unit logout"):
        return
    vm.give_pi("alice", "/home/alice")
    to.row("user unit: installed by an ordinary user", lambda: _install(vm), True)
    with served(vm, 3001) as api:
        to.row("user unit: half a processor by cgroup", lambda: _half(api))
        to.row("user unit: KILL leaves a running agent its network", lambda: _killed(vm, api))
    vm.run("XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user disable --now agentcontainer", "alice")
    to.row("logout without linger: nothing ends", lambda: _logout(vm))


def _install(vm: Machine) -> str:
    vm.run(f"umask 077; echo AGENTCONTAINER_API_KEY={KEY} > environment", "alice")
    command = "agentcontainer install-service --yes --flags '--port 3001' --environment-file environment"
    asked = vm.both(command, "alice", 900)
    if "loginctl enable-linger alice" in asked:  # an account without rights is told what root has to do
        vm.run("loginctl enable-linger alice")
        vm.run(command, "alice", 900)
    vm.run("podman load -q -i /opt/in/base.tar", "alice", 600)
    driver = vm.run("podman info --format '{{.Store.GraphDriverName}}'", "alice")
    if driver != "overlay":
        raise Failed(f"storage is {driver}")
    return "it runs; storage overlay"


def _half(api: Api) -> str:
    task = api.finished(
        api.dispatch(
            blocks("cat /sys/fs/cgroup/cpu.max", finish="--complete-task --message Done"), limits={"cpus": 0.5}
        )
    )
    said, by = api.said(task["id"]).strip(), task["walls"]["limits"]["cpus"]["by"]
    if (said, by) != ("50000 100000", "cgroup"):
        raise Failed(f"cpu.max {said}, by {by}")
    return "cpu.max is 50000 100000"


def _killed(vm: Machine, api: Api) -> str:
    id = api.dispatch(blocks(*TRIES, finish="--complete-task --message Done"), internetAccess=True)
    until("the task has tried its network", lambda: api.steps(id) > 1, 300)
    vm.run("XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user kill -s KILL agentcontainer", "alice")
    until("the server is ready again", api.is_ready, 300)
    api.finished(id)
    said = api.said(id).split()
    if set(said) != {"open"}:
        raise Failed(" ".join(said))
    moves = [event["data"]["status"] for event in api.events(id) if event["event"] == "task.updated"]
    return f"{len(said)} of {len(said)} connections work; {' → '.join(moves)}"


def _logout(vm: Machine) -> str:
    """The server outlives the account's session; the account's runtime directory does not."""
    vm.run("loginctl disable-linger alice")
    with vm.session("alice") as log_out:
        environ = {"HOME": "/home/alice", "XDG_RUNTIME_DIR": "/run/user/1000", "AGENTCONTAINER_API_KEY": KEY}
        given = " ".join(f"-E {name}={value}" for name, value in environ.items())
        vm.run(
            f"systemd-run --quiet --unit=unlingering --uid=alice {given}"
            " agentcontainer serve --port 3002 --data /home/alice/unlingering"
        )
        with served(vm, 3002) as api:
            running = api.dispatch(blocks(*LONG, finish="--complete-task --message Done"))
            sleeping = api.dispatch(SLEEP)
            api.wait(sleeping, "hibernating")
            until("the running task works", lambda: api.steps(running) > 0, 300)
            log_out()
            until("the runtime directory is gone", lambda: vm.try_("test ! -e /run/user/1000") is not None, 300)
            new = api.dispatch(blocks("echo new", finish="--complete-task --message Done"))
            until("readyz says it", lambda: "enable-linger" in api.readyz(), 120)
            statuses = [api.task(id)["status"] for id in (running, sleeping, new)]
            if statuses[0] not in ("running", "pending") or statuses[1:] != ["hibernating", "pending"]:
                raise Failed(f"running, hibernating and new tasks are {', '.join(statuses)}")
            vm.run("loginctl enable-linger alice")
            api.call("POST", f"/tasks/{sleeping}/wake", {"kind": "external_wake"})
            for id in (running, sleeping, new):
                api.finished(id)
    tracebacks = vm.run("journalctl -u unlingering -o cat | grep -c Traceback; true")
    vm.run("systemctl stop unlingering")
    if tracebacks != "0":
        raise Failed(f"{tracebacks} tracebacks in the log")
    return "the running, the sleeping and a new task wait, and all finish after loginctl enable-linger"
