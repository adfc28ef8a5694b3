"""What an engine is asked for, on a real Slurm."""

import pytest

SMALL = {"cpus": 1, "memory_mb": 100, "seconds": 600}


@pytest.fixture(autouse=True)
def no_jobs_left(cluster):
    yield
    cluster.head.run("scancel", "--user", cluster.account)
    cluster.until(lambda: not cluster.jobs())


def state(asked, run: str) -> str | None:
    return asked("jobs").get(run, {}).get("state")


def test_nodes_are_listed_with_whether_they_take_jobs(cluster, asked):
    assert asked("nodes") == [{"name": "n1", "up": True, "reason": ""}, {"name": "n2", "up": True, "reason": ""}]
    cluster.head.run("scontrol", "update", "nodename=n2", "state=drain", "reason=broken fan")
    try:
        [_, drained] = asked("nodes")
        assert not drained["up"] and "broken fan" in drained["reason"]
    finally:
        cluster.head.run("scontrol", "update", "nodename=n2", "state=resume")


def test_a_job_runs_on_a_node_that_is_not_excluded_and_is_found_by_its_run(cluster, asked):
    for run, exclude, node in (("run_1", ["n1"], "n2"), ("run_2", ["n2"], "n1")):
        id = asked("submit", run, ["sleep", "60"], SMALL, exclude=exclude)
        cluster.until(lambda run=run: state(asked, run) == "running")
        assert asked("jobs")[run] == {"id": id, "run_id": run, "state": "running", "node": node, "reason": ""}


def test_cancelling_ends_a_running_and_a_queued_job_and_none_is_no_error(cluster, asked):
    asked("submit", "run_3", ["sleep", "60"], SMALL)
    asked("submit", "run_4", ["sleep", "60"], SMALL, options=["--begin=now+1hour"])
    cluster.until(lambda: (state(asked, "run_3"), state(asked, "run_4")) == ("running", "pending"))
    for run in ("run_3", "run_4", "run_of_nobody"):
        assert asked("cancel", run) is None
    cluster.until(lambda: not {"running", "pending"} & {job["state"] for job in asked("jobs").values()})
    assert "cancelled" in asked("jobs")["run_3"]["reason"]


def test_a_jobs_environment_and_script_hold_nothing_of_the_servers(cluster, asked):
    asked("submit", "run_5", ["sh", "-c", "env > /dev/shm/environment; sleep 60"], SMALL, exclude=["n2"])
    node = cluster.nodes[0]
    cluster.until(lambda: node.run("test", "-s", "/dev/shm/environment", check=False).returncode == 0)
    environment = node.run("cat", "/dev/shm/environment").stdout
    assert "tweet" not in environment and "PATH=/" in environment
    spools = cluster.head.run("grep", "-r", "tweet", str(cluster.folder / "controller"), check=False)
    assert spools.returncode == 1, spools.stdout


def test_a_command_arrives_word_by_word(cluster, asked):
    asked("submit", "run_6", ["sh", "-c", 'printf "%s|" "$@" > /dev/shm/words', "sh", "a b", "$HOME;'", ""], SMALL)
    cluster.until(lambda: state(asked, "run_6") == "ended")
    words = [node.run("cat", "/dev/shm/words", check=False).stdout for node in cluster.nodes]
    assert "a b|$HOME;'||" in words


@pytest.mark.parametrize("option", ["--partition=nowhere", "--mem=999999999", "--frobnicate", "--nodelist=n7"])
def test_what_slurm_does_not_take_is_refused_with_its_words(asked, option):
    refused = asked("submit", "run_7", ["true"], SMALL, options=[option])
    assert refused["error"] == "Refused" and refused["message"].startswith("sbatch: "), refused


def test_an_account_that_may_not_use_the_partition_is_refused(cluster):
    """As of an agent's sub-uid after an escape: AllowGroups closes the partition."""
    refused = cluster.sbatch("--wrap", "true", user="nobody", check=False)
    assert refused.returncode != 0 and "not permitted" in refused.stderr


def test_jobs_go_on_while_the_controller_is_away_which_is_unavailable(cluster, asked):
    asked("submit", "run_8", ["sleep", "60"], SMALL)
    cluster.until(lambda: state(asked, "run_8") == "running")
    cluster.until(
        lambda: b"run_8" in (cluster.folder / "controller/job_state").read_bytes()
    )  # it saves it a little later
    cluster.kill(cluster.head, "slurmctld")
    try:
        for method, args in (("jobs", []), ("nodes", []), ("submit", ["run_9", ["true"], SMALL])):
            assert asked(method, *args)["error"] == "Unavailable"
    finally:
        cluster.start_controller()
    cluster.until(lambda: state(asked, "run_8") == "running")


def test_a_worker_that_was_killed_finds_its_job_again(cluster, asked):
    asked("submit", "run_10", ["sh", "-c", "sleep 5; echo well > /dev/shm/end"], SMALL, exclude=["n2"])
    cluster.until(lambda: state(asked, "run_10") == "running")
    node = cluster.nodes[0]
    cluster.kill(node, "slurmd")
    cluster.start_worker(node)
    cluster.until(lambda: state(asked, "run_10") == "ended")
    assert node.run("cat", "/dev/shm/end").stdout == "well\n"
    assert asked("jobs")["run_10"]["reason"] == ""


def test_a_node_without_power_is_given_up_and_comes_back(cluster, asked):
    asked("submit", "run_11", ["sleep", "600"], SMALL, exclude=["n1"])
    cluster.until(lambda: state(asked, "run_11") == "running")
    node = cluster.nodes[1]
    node.power_off()
    try:
        cluster.until(lambda: state(asked, "run_11") == "node_lost")
        assert [one["up"] for one in asked("nodes")] == [True, False]
    finally:
        cluster.power_on(node)
    cluster.until(lambda: all(one["up"] for one in asked("nodes")))
