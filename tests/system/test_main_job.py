"""The main job: a task is dispatched, an agent works in a container, files come back."""

import re
import socket

from tests.system.conftest import Server, podman, podman_things, serving, standard_image, wait_until

BASH = "```bash\n{}\n```\n"


def bash(*commands: str, finish: str | None = None) -> str:
    end = f"```finish\n{finish}\n```\n" if finish else ""
    return "Do this:\n" + "".join(BASH.format(command) for command in commands) + end


def test_a_task_turns_an_uploaded_file_into_an_output(server: Server):
    csv = server.upload("numbers.csv", b"1\n2\n3\n")
    task = server.run(
        bash(
            "awk '{s+=$1} END {print s}' task_files/numbers.csv > sum.txt",
            finish='--complete-task --message "Summed up" sum.txt',
        ),
        files=[csv],
    )
    assert task["status"] == "finished", task["error"]
    assert task["result"] == "Summed up"
    assert task["metadata"]["completion"] == "complete"
    assert task["execution"] == {"provider": "anthropic", "model": "scripted", "weakModel": None}
    assert server.outputs(task["id"]) == {"sum.txt": b"6\n"}
    assert task["tokenUsage"]["calls"] >= 2
    assert task["startedAt"] and task["completedAt"]


def test_a_finished_task_leaves_no_container_and_no_volume(server: Server):
    task = server.run(bash("true"))
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 10)


def test_the_history_of_a_task_is_a_walk_from_pending_to_its_end(simulated: Server):
    task = simulated.run(bash("echo hello"))
    moves = [e["data"]["status"] for e in simulated.history(task["id"]) if e["event"] == "task.updated"]
    assert moves == ["pending", "running", "finished"]
    assert "hello" in simulated.said(task["id"])


def test_the_agent_finds_its_task_its_rules_and_its_files(server: Server):
    given = [server.upload("same.txt", b"first"), server.upload("same.txt", b"second")]
    instructions = bash(
        "pwd; id -u; echo $HOME; cat ~/TASK.md | head -1; readlink ~/TASK.md; ls task task_files reference_files 2>&1;"
        " cat task_files/same.txt task_files/same-2.txt; grep -c same-2.txt ~/task/HARNESS.md"
    )
    task = server.run(instructions, files=given)
    said = server.said(task["id"])
    for seen in ("/workspace\n", "Do this:", "HARNESS.md", "TASK.md", "firstsecond", "same-2.txt"):
        assert seen in said, said


def test_an_incomplete_finish_is_finished_and_says_so(simulated: Server):
    task = simulated.run(bash(finish='--incomplete-task --message "No data"'))
    assert (task["status"], task["metadata"]["completion"], task["result"]) == ("finished", "incomplete", "No data")


def test_named_outputs_come_back_under_their_names(simulated: Server):
    policy = {"mode": "named", "files": [{"name": "report"}, {"name": "dataset", "description": "the cleaned data"}]}
    task = simulated.run(
        bash(
            "echo a > r.md; echo b > d.csv",
            finish="--complete-task --message Done --output report=r.md --output dataset=d.csv",
        ),
        outputPolicy=policy,
    )
    files = simulated.get(f"/tasks/{task['id']}/files", order="asc")["data"]
    assert {file["outputName"]: file["filename"] for file in files} == {"report": "r.md", "dataset": "d.csv"}


def test_a_refused_finish_tells_the_agent_why_and_the_task_goes_on(server: Server):
    policy = {"mode": "named", "files": [{"name": "report"}]}
    instructions = bash(
        "echo hi > r.md; finish --complete-task --message Early || echo refused with $?",
        finish="--complete-task --message Done --output report=r.md",
    )
    task = server.run(instructions, outputPolicy=policy)
    assert (task["status"], task["result"]) == ("finished", "Done")
    said = server.said(task["id"])
    assert "Required outputs are missing: report" in said
    assert "refused with 1" in said


def test_outputs_that_are_no_files_are_refused_by_name(server: Server):
    instructions = bash(
        "mkfifo p; echo x > ok; ln -s /etc/shadow secret; ln -s /dev/zero z;"
        " finish --complete-task --message M p z secret nothing ok; echo code $?"
    )
    task = server.run(instructions)
    said = server.said(task["id"])
    for name in ("p", "z", "secret", "nothing"):
        assert f'"{name}"' in said, said
    assert "code 1" in said
    assert server.outputs(task["id"]) == {}


def test_an_agent_that_stops_without_finish_is_told_twice_and_then_failed(simulated: Server):
    task = simulated.run(
        bash(finish="--complete-task --message Done not-there.txt"), outputPolicy={"mode": "at_least_one"}
    )
    assert task["status"] == "failed"
    assert "without calling finish" in task["error"]


def test_the_runtime_limit_ends_a_task_and_its_container(server: Server):
    task = server.dispatch(bash("sleep 600"), maxRuntimeSeconds=4)
    ended = server.wait(task["id"], "failed")
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 5)
    assert "maxRuntimeSeconds" in ended["error"]
    assert ended["containerMinutes"] * 60 < 10


def test_a_cancelled_task_loses_its_container(server: Server):
    task = server.dispatch(bash("sleep 600"))
    server.wait(task["id"], "running")
    cancelled = server.post(f"/tasks/{task['id']}/cancel", expect=200)
    assert cancelled["status"] == "cancelled"
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 5)
    assert server.post(f"/tasks/{task['id']}/cancel", expect=200)["status"] == "cancelled"


def test_the_agent_is_told_when_its_time_is_nearly_over(server: Server):
    instructions = bash("sleep 4", "cat /var/lib/agentcontainer/sessions/*.jsonl | grep -c 'Wrap up now'")
    task = server.run(instructions, softFinishAfterSeconds=2, maxRuntimeSeconds=60)
    assert task["status"] == "finished"
    assert server.said(task["id"]).strip().splitlines()[0] not in ("", "0")


def test_there_is_no_key_and_no_right_in_the_container(server: Server):
    instructions = bash(
        "env; cat /proc/self/status | grep -E 'Cap(Eff|Bnd|Prm)|NoNewPrivs'; ls /sys/class/net;"
        " cat /run/agentcontainer/launch.json; touch /run/agentcontainer/x; touch /opt/agentcontainer/x; id"
    )
    task = server.run(instructions)
    said = server.said(task["id"])
    assert server.key not in said
    assert "CapEff:\t0000000000000000" in said and "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "Read-only file system" in said
    assert 20_000 <= int(re.search(r"uid=(\d+)", said)[1]) < 60_000


def test_pi_starts_from_the_compile_cache_and_the_agent_sees_nothing_of_it(server: Server):
    show = "tr '\\0' '\\n' < /proc/$PPID/environ | grep ^NODE_COMPILE_CACHE= | cut -d= -f2"
    task = server.run(
        bash(
            f"cache=$({show}); ls $cache/*-$(id -u) | wc -l > files.txt; env > env.txt",
            finish='--complete-task --message "Done" files.txt env.txt',
        )
    )
    files = server.outputs(task["id"])
    assert int(files["files.txt"]) > 20
    assert not {b"NODE_COMPILE_CACHE", b"JITI_TRY_NATIVE"} & {
        line.split(b"=")[0] for line in files["env.txt"].splitlines()
    }


def test_two_agents_are_different_users_on_the_host(server: Server):
    tasks = [server.dispatch(bash("sleep 8")) for _ in range(2)]
    for task in tasks:
        server.wait(task["id"], "running")
    uids = {podman("inspect", "--format", "{{.Config.User}}", server.container(task)).strip() for task in tasks}
    assert len(uids) == 2
    for task in tasks:
        server.post(f"/tasks/{task['id']}/cancel", expect=200)


def test_a_task_whose_image_does_not_exist_fails_and_names_it(server: Server):
    agent = server.post(
        "/agents",
        {
            "name": "lost",
            "basePrompt": "Work.",
            "runtime": {"containerImage": "localhost/no-such-image:1", "agentRuntime": "pi"},
            "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60},
        },
    )
    task = server.run(bash("true"), agent=agent["id"])
    assert task["status"] == "failed"
    assert "localhost/no-such-image:1" in task["error"]


def test_an_image_that_was_removed_is_looked_for_again(server: Server):
    server.run(bash("true"))  # the standard image is here from now on
    name, standard = "localhost/agentcontainer-tests-fleeting:1", standard_image()
    agent = server.post(
        "/agents",
        {
            "name": "fleeting",
            "basePrompt": "Work.",
            "runtime": {"containerImage": name, "agentRuntime": "pi"},
            "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60},
        },
    )
    said = []
    for there in (True, False, True):
        podman(*(("tag", standard, name) if there else ("untag", name, name)))  # without the second, all its names go
        work = bash("true", finish='--complete-task --message "Done"')
        said.append(server.run(work, agent=agent["id"]))
    podman("untag", name, name)
    assert [task["status"] for task in said] == ["finished", "failed", "finished"]
    assert name in said[1]["error"]


def test_pi_that_is_killed_is_started_again_and_goes_on(server: Server):
    instructions = bash(
        "echo once >> log; test -e killed || { touch killed; kill -9 $PPID; sleep 5; }; echo alive",
        finish="--complete-task --message Done log",
    )
    task = server.run(instructions)
    assert task["status"] == "finished", task["error"]
    moves = [e["data"]["status"] for e in server.history(task["id"]) if e["event"] == "task.updated"]
    assert moves == ["pending", "running", "pending", "running", "finished"]


def test_pi_that_dies_again_and_again_is_a_failed_task_with_its_last_words(server: Server):
    task = server.run(bash(*["kill -9 $PPID; sleep 30"] * 4))
    assert task["status"] == "failed"
    assert "died 3 times" in task["error"] and "SIGKILL" in task["error"]


def test_a_task_waits_for_room_and_shows_its_place(own_simulated: Server):
    running = [own_simulated.dispatch(bash("sleep 600")) for _ in range(4)]
    for task in running:
        own_simulated.wait(task["id"], "running")
    waiting = [own_simulated.dispatch(bash("true")) for _ in range(2)]
    assert [own_simulated.get(f"/tasks/{task['id']}")["queuePosition"] for task in waiting] == [1, 2]
    own_simulated.post(f"/tasks/{running[0]['id']}/cancel", expect=200)
    assert own_simulated.wait(waiting[0]["id"])["status"] == "finished"


class Unit(Server):
    """Started as systemd would: our unit has UMask=0077 and Type=notify."""

    umask = 0o077


def test_a_server_whose_files_are_closed_to_others_runs_tasks_and_says_when_it_is_ready(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        with serving(tmp_path / "data", Unit, NOTIFY_SOCKET=str(tmp_path / "notify")) as server:
            assert systemd.recv(100) == b"READY=1"
            task = server.run(bash("umask", finish="--complete-task --message Done"))
            assert (task["status"], server.said(task["id"]).strip()) == ("finished", "0022"), task["error"]
