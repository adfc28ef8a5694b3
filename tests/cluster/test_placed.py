"""Tasks whose containers live on other machines: Slurm places them, and each part is killed in the middle."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster import host
from tests.cluster.host import Server
from tests.cluster.machines import Machine
from tests.cluster.slurm import DOWN_SECONDS, Slurm

FINISH = "```finish\n--complete-task --message done out.txt\n```\n"
LOOK_SECONDS = 30  # Slurm looks at its nodes every third of SlurmdTimeout, and we at Slurm every three seconds


def bash(*commands: str) -> str:
    return "".join(f"```bash\n{command}\n```\n" for command in commands)


@pytest.fixture(scope="module")
def server(cluster: Slurm) -> Iterator[Server]:
    host.Prepared(cluster)
    with host.serving(cluster, AGENTCONTAINER_CHECKPOINT_SECONDS="3") as served:
        yield served


@pytest.fixture(autouse=True)
def nothing_stays(server: Server, cluster: Slurm) -> Iterator[None]:
    yield
    for task in server.get("/tasks", limit=1000)["data"]:
        if task["status"] not in host.ENDED:
            server.post(f"/tasks/{task['id']}/cancel", expect=200)
    cluster.until(lambda: not cluster.jobs())
    cluster.until(lambda: not any(of_runs(node) for node in cluster.nodes), 10)


def assert_nothing_is_kept(cluster: Slurm) -> None:
    """Of runs that were not killed: the folder of one that was goes with the next job on that node."""
    cluster.until(lambda: not cluster.jobs())
    for node in cluster.nodes:
        jobs = node.run("sh", "-c", "ls ~/.local/share/agentcontainer-node/jobs || true", user=cluster.account).stdout
        assert jobs == "", f"{node.name} keeps {jobs}"


def of_runs(node: Machine) -> list[list[str]]:
    """Processes on a node that belong to a run: its node program, its container, and what serves them."""
    words = ("agentcontainer_local", "conmon", "podman", "sleep", "daemon.mjs")
    return [command for command in node.processes().values() if any(word in " ".join(command) for word in words)]


def node_of(cluster: Slurm, task: dict) -> Machine:
    [job] = [job for job in cluster.jobs() if task["id"] in job]
    return next(node for node in cluster.nodes if node.name == job.split()[-1])


def job_of(cluster: Slurm, task: dict) -> str:
    [job] = [job.split()[0] for job in cluster.jobs() if task["id"] in job]
    return job


def tools(node: Machine) -> list[list[str]]:
    return [command for command in node.processes().values() if command[:2] == ["sleep", "987"]]


def begun(server: Server, *commands: str, finish: str = FINISH, **overrides) -> tuple[dict, Machine]:
    """A task whose first command is at work, and the node where it is. The command must begin with `sleep 987 &`."""
    task = server.dispatch(bash(*commands) + finish, **overrides)
    server.wait(task["id"], "running")
    cluster = server.slurm
    cluster.until(lambda: bool(tools(node_of(cluster, task))))
    return task, node_of(cluster, task)


def working(seconds: float) -> str:
    """A command that says each time it is run, and takes so long."""
    return f"sleep 987 & echo ran >> log.txt; sleep {seconds}; kill %1; cp log.txt out.txt"


def runs(server: Server, task: dict) -> int:
    return server.row("SELECT count(*) AS c FROM runs WHERE task_id = ?", task["id"])["c"]


def moves(server: Server, task: dict) -> list[str]:
    return [event["data"]["event"] for event in server.history(task["id"]) if event["event"] == "task.updated"]


def finished(server: Server, task: dict, log: bytes = b"ran\n") -> None:
    done = server.wait(task["id"])
    assert (done["status"], done["error"]) == ("finished", None)
    assert server.outputs(task["id"]) == {"out.txt": log}


def test_a_task_runs_on_a_node_and_its_files_come_and_go(server, cluster):
    prepared = server.post("/uploads/prepare", {"filename": "in.txt"})
    with host.network_of(server.slurm.head):
        server.client.put(prepared["uploadUrl"], content=b"given\n").raise_for_status()
    file = server.post("/uploads/complete", {"uploadId": prepared["uploadId"]})["id"]
    body = {
        "instructions": bash("cat $(find / -name in.txt 2>/dev/null | head -1) > out.txt; ls /sys/class/net >> out.txt")
        + FINISH,
        "inputFileIds": [file],
        "overrides": {"model": "scripted", "maxRuntimeSeconds": 300},
    }
    task = server.post("/agents/agt_standard_coding/tasks", body)
    done = server.wait(task["id"])
    assert (done["status"], done["error"]) == ("finished", None)
    assert done["walls"]["node"] in ("n1", "n2") and done["walls"]["isolation"] == "container"
    shown = server.command("tasks", "show", task["id"]).stdout
    assert f"node {done['walls']['node']}" in " ".join(shown.split())
    out = server.outputs(task["id"])["out.txt"].decode()
    assert out == "given\nlo\n"  # and no network but its own
    assert_nothing_is_kept(cluster)


def test_nothing_of_the_servers_environment_is_on_a_node(server, cluster):
    task, node = begun(server, working(5), "env > seen.txt; cat seen.txt > out.txt")
    for pid in node.processes():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
            seen = environ.read()
            assert b"tweet-tweet" not in seen and server.key.encode() not in seen
    spool = subprocess.run(["grep", "-rlE", f"tweet-tweet|{server.key}", cluster.folder / "controller"])
    assert spool.returncode == 1
    server.wait(task["id"])
    assert b"tweet" not in server.outputs(task["id"])["out.txt"]


def test_an_agent_that_sleeps_leaves_its_node_and_wakes_with_its_workspace_and_session(server, cluster):
    task = server.dispatch(bash("echo before > log.txt", "hibernate --for 1h", "cp log.txt out.txt") + FINISH)
    server.wait(task["id"], "hibernating")
    cluster.until(lambda: not cluster.jobs())
    assert_nothing_is_kept(cluster)
    kept = sorted(file.name for file in (server.files / "checkpoints" / task["id"]).iterdir())
    assert kept == ["session.tar", "workspace.tar"]
    with contextlib.closing(sqlite3.connect(server.files / "agentcontainer.db", timeout=10)) as store:
        store.execute("UPDATE tasks SET hibernate_until = '2020-01-01T00:00:00.000Z' WHERE id = ?", (task["id"],))
        store.commit()
    finished(server, task, b"before\n")
    assert runs(server, task) == 2
    cluster.until(lambda: not (server.files / "checkpoints" / task["id"]).exists())


def test_a_host_that_is_killed_finds_its_agents_at_work(server, cluster):
    task, node = begun(server, working(6))
    server.end(signal.SIGKILL)
    server.start()
    finished(server, task)
    assert runs(server, task) == 1


def test_an_agent_that_ends_its_command_while_the_host_is_away_goes_on(server, cluster):
    task, node = begun(server, working(3))
    server.end(signal.SIGKILL)
    cluster.until(lambda: not tools(node))
    server.start()
    finished(server, task)
    assert runs(server, task) == 1


@pytest.mark.parametrize("program", ["slurmd", "slurmctld"])
def test_the_engines_own_programs_may_be_killed(server, cluster, program):
    task, node = begun(server, working(6))
    cluster.until(lambda: task["id"].encode() in (cluster.folder / "controller/job_state").read_bytes())
    if program == "slurmd":
        cluster.kill(node, program)
        cluster.start_worker(node)
    else:
        cluster.kill(cluster.head, program)
        waiting = server.dispatch(bash("echo later > out.txt") + FINISH)
        time.sleep(3)  # for it to ask the controller, which is away
        assert server.get(f"/tasks/{waiting['id']}")["status"] == "pending"
        cluster.start_controller()
        finished(server, waiting, b"later\n")
    finished(server, task)
    assert runs(server, task) == 1


@pytest.mark.parametrize("how", ["node program", "job", "cancel"])
def test_nothing_of_a_container_outlives_its_job(server, cluster, how):
    task, node = begun(server, working(60))
    ends: dict[str, Callable[[], object]] = {
        "node program": lambda: node.run("pkill", "-KILL", "-f", "agentcontainer_local node run"),
        "job": lambda: cluster.head.run("scancel", job_of(cluster, task)),
        "cancel": lambda: server.post(f"/tasks/{task['id']}/cancel", expect=200),
    }
    ends[how]()
    cluster.until(lambda: not tools(node), 3)
    if how == "cancel":
        assert runs(server, task) == 1
    else:
        cluster.until(lambda: runs(server, task) == 2)
        assert moves(server, task)[:3] == ["created", "started", "interrupted"]


def test_a_node_without_power_loses_no_task(server, cluster):
    task, node = begun(server, working(8))
    node.power_off()
    try:
        cluster.until(lambda: runs(server, task) == 2, DOWN_SECONDS + LOOK_SECONDS)
        finished(server, task)
        assert moves(server, task) == ["created", "started", "interrupted", "started", "finished"]
    finally:
        cluster.power_on(node)
        cluster.until(lambda: all(state == "idle" for state in cluster.states().values()))


def test_a_run_whose_node_is_lost_goes_on_with_its_files_of_a_moment_ago(server, cluster):
    first = "sleep 987 & echo first >> log.txt; sleep 2; kill %1"
    task, _ = begun(server, first, "sleep 987 & sleep 25; kill %1", "echo last >> log.txt; cp log.txt out.txt")
    kept = server.files / "checkpoints" / task["id"] / "workspace.tar"
    cluster.until(lambda: kept.exists() and b"first" in kept.read_bytes())
    node = node_of(cluster, task)
    node.power_off()
    try:
        cluster.until(lambda: runs(server, task) == 2, DOWN_SECONDS + LOOK_SECONDS)
        finished(server, task, b"first\nlast\n")  # and the first command was not run again: the session went on
        reasons = [event["data"].get("reason") or "" for event in server.history(task["id"])]
        assert any(f"The node {node.name} was lost" in reason and "files of" in reason for reason in reasons)
    finally:
        cluster.power_on(node)
        cluster.until(lambda: all(state == "idle" for state in cluster.states().values()))


def test_a_short_cut_of_the_network_changes_nothing(server, cluster):
    task, node = begun(server, working(10))
    cluster.network.cut(node)
    time.sleep(5)
    cluster.network.heal(node)
    finished(server, task)
    assert runs(server, task) == 1


def test_after_a_long_cut_the_run_is_elsewhere_and_the_old_one_ends_when_it_is_back(server, cluster):
    task, node = begun(server, working(75))  # longer than it takes until the other one is at work
    cluster.network.cut(node)
    try:
        cluster.until(lambda: runs(server, task) == 2, DOWN_SECONDS + LOOK_SECONDS)
        server.wait(task["id"], "running")
        assert tools(node)  # it cannot know
    finally:
        cluster.network.heal(node)
    cluster.until(lambda: not tools(node), 5)
    finished(server, task)
    assert moves(server, task).count("finished") == 1
    cluster.until(lambda: all(state in ("idle", "mixed") for state in cluster.states().values()))


class TestWhoGetsIn:
    @pytest.fixture
    def knock(self, server, cluster):
        """What the port answers on a node, with a node's bundle, to a greeting for a task's run."""

        def knock(node: Machine, task: dict, bundle: str = "~/.config/agentcontainer/node.pem", **greeting) -> str:
            run = server.row("SELECT id FROM runs WHERE task_id = ? ORDER BY number DESC", task["id"])["id"]
            given = {"version": 1, "kind": "restore", "job": f"{task['id']}.{run}", "part": "workspace", **greeting}
            script = f"{sys.executable} - 10.77.0.1 7443 {bundle} '{json.dumps(given)}'"
            return node.run(
                "sh", "-c", script, user=cluster.account, input=(host.CLONE / "tests/cluster/knock.py").read_text()
            ).stdout  # fmt: skip

        return knock

    def test_only_the_runs_own_node_has_its_door(self, server, cluster, knock):
        task, node = begun(server, working(30))
        [other] = [one for one in cluster.nodes if one is not node]
        assert "not_yours" in knock(other, task)
        assert "not_yours" in knock(node, {"id": task["id"]}, job=f"{task['id']}.run_of_nobody")
        assert knock(node, task, kind="nonsense").startswith("closed")
        assert knock(node, task, bundle="-").startswith("closed")
        spoken = node.run("curl", "-s", "-m", "5", "http://10.77.0.1:7443/", check=False)
        assert spoken.returncode != 0 and spoken.stdout == ""

    def test_another_authoritys_certificate_opens_nothing(self, server, cluster, knock):
        task, node = begun(server, working(30))
        words = [sys.executable, "-m", "agentcontainer_local", "nodes", "add", node.name]
        environ = {"PYTHONPATH": host.PYTHONPATH, "AGENTCONTAINER_DATA": "/tmp/another"}
        (bundle := node.run(*words, user=cluster.account, environ=environ).stdout)
        node.run("sh", "-c", "cat > /tmp/foreign.pem", input=bundle, user=cluster.account)
        assert knock(node, task, bundle="/tmp/foreign.pem").startswith("closed")

    def test_a_removed_node_is_refused_and_what_it_has_open_is_closed(self, server, cluster, knock):
        task, node = begun(server, working(30))
        file = cluster.folder / node.name / ".config/agentcontainer/node.pem"
        server.command("nodes", "remove", node.name)
        try:
            assert knock(node, task).startswith("closed")
        finally:
            file.write_text(server.command("nodes", "add", node.name).stdout)
        server.post(f"/tasks/{task['id']}/cancel", expect=200)


def test_a_job_that_shares_the_machines_processes_starts_no_container(server, cluster):
    [node, _] = cluster.nodes
    words = [sys.executable, "-m", "agentcontainer_local", "node", "run", "tsk_x.run_y", host.LISTEN]
    environ = {"PYTHONPATH": host.PYTHONPATH, "AGENTCONTAINER_NODE_JOB": "/tmp"}
    refused = node.run(*words, user=cluster.account, environ=environ, check=False)
    assert refused.returncode != 0 and "PID namespace of its own" in refused.stderr
