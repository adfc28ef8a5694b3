"""The simulated guest at a real door: real store, real gateway, the scripted model; no engine, no container, no Pi."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from starlette.routing import Mount, Router

from agentcontainer_local import gateway, guest, model_access, resource_limits
from agentcontainer_local.engine.host import Host
from agentcontainer_local.pi import launch as pi
from agentcontainer_local.pi import workspace
from agentcontainer_local.sandbox.backend import Exit, ImageChoice, RunSpec, Start
from agentcontainer_local.sandbox.backend import Guest as Reached
from agentcontainer_local.sandbox.simulated import (
    Attach,
    Die,
    Exceed,
    Fail,
    Finish,
    FollowModel,
    Hibernate,
    Ran,
    Say,
    Simulation,
    Tool,
    Turn,
    Wait,
    script,
)
from agentcontainer_local.sandbox.simulated.place import SimulatedRun
from agentcontainer_local.store import agents, tasks


class Stage:
    """Starts runs of tasks as the engine does, one by one, and says what has come of them."""

    def __init__(self, host: Host, client: httpx.AsyncClient, calls: gateway.Client, simulation: Simulation):
        self.host, self.client, self.simulation = host, client, simulation
        self.backend = simulation.backend("str_test")
        self._calls = calls

    async def dispatch(self, instructions: str, **body) -> dict:
        overrides = {"model": "scripted", "maxRuntimeSeconds": 120, **body.pop("overrides", {})}
        sent = {"instructions": instructions, "overrides": overrides, **body}
        response = await self.client.post("/agents/agt_standard_coding/tasks", json=sent)
        assert response.status_code == 201, response.text
        return response.json()

    async def converse(self, message: str, **body) -> dict:
        sent = {"instructions": "You help.", "message": message, "overrides": {"model": "scripted"}, **body}
        response = await self.client.post("/agents/agt_standard_coding/conversations", json=sent)
        assert response.status_code == 201, response.text
        return response.json()["task"]

    @contextlib.asynccontextmanager
    async def running(self, task: dict) -> AsyncIterator[SimulatedRun]:
        run = tasks.begin_run(self.host.db, task["id"], self.host.now())
        spec = RunSpec(
            task_id=task["id"],
            run_id=run["id"],
            number=run["number"],
            image=ImageChoice("coding", None),
            launch=lambda env: self._launch(task["id"]),
            limits=resource_limits.limits(self.host.settings),
            isolation="container",
            internet=False,
            first=tasks.is_first_run(self.host.db, run),
        )
        door = guest.Door(self.host, task["id"], run["id"], model_access.known(self.host, task["id"]))

        async def app(scope, receive, send):
            await Router([*guest.ROUTES, Mount("/", self._model)])({**scope, "door": door}, receive, send)

        async with self.backend.running(spec, Reached(app, None)) as life:
            if tasks.get(self.host.db, task["id"])["status"] == "pending":
                tasks.apply(self.host.db, task["id"], "started", self.host.now())
            yield life
        await self.backend.stop(task["id"])
        tasks.end_run(self.host.db, task["id"], self.host.now())

    async def until(self, task: dict, happened) -> dict:
        """The task's row, once that is true of it and of its open run."""
        async with asyncio.timeout(10):
            while True:
                changed = self.host.changed.mark(task["id"])
                row, run = tasks.get(self.host.db, task["id"]), tasks.open_run(self.host.db, task["id"])
                if happened(row, run):
                    return row
                await asyncio.wait({changed})

    async def run(self, task: dict) -> dict:
        """Until its agent settles, or the task is over."""
        async with self.running(task):
            return await self.until(
                task, lambda row, run: run["settled_at"] or row["status"] not in ("pending", "running")
            )

    async def outputs(self, task: dict) -> dict[str, bytes]:
        listed = (await self.client.get(f"/tasks/{task['id']}/files")).json()["data"]
        return {f["filename"]: (await self.client.get(f"/tasks/{task['id']}/files/{f['id']}")).content for f in listed}

    async def said(self, task: dict) -> str:
        events = (await self.client.get(f"/tasks/{task['id']}/events?order=asc&limit=1000")).json()["data"]
        return "".join(e["data"].get("output") or "" for e in events if e["event"] == "activity.completed")

    async def _model(self, scope, receive, send) -> None:
        grant = model_access.grant(self.host, scope["door"])
        await gateway.handle(grant, self._calls, scope, receive, send)

    def _launch(self, task_id: str) -> bytes:
        db = self.host.db
        task = tasks.get(db, task_id)
        execution = tasks.execution(self.host.context, task)
        version = agents.version(db, task["agent_id"], task["agent_version_id"])
        harness = workspace.document(db, task, "HARNESS.md")
        return json.dumps(pi.launch(task, execution, version["base_prompt"], harness, {}, [], {})).encode()


@pytest.fixture
def plays() -> dict[str, Callable]:
    """What a test may set: `script` says what each agent does, `outputs` what a block prints, `sleep` how it waits."""
    return {}


@pytest.fixture
async def stage(host, client, tmp_path, plays) -> AsyncIterator[Stage]:
    async def asleep(seconds: float) -> None:
        host.now.advance(seconds)

    host.files.mkdir(parents=True, exist_ok=True)
    simulation = Simulation(
        tmp_path / "runs",
        lambda turn: plays["script"](turn) if "script" in plays else None,
        lambda block: plays["outputs"](block) if "outputs" in plays else None,
        sleep=lambda seconds: plays.get("sleep", asleep)(seconds),
    )
    async with gateway.client() as calls:
        yield Stage(host, client, calls, simulation)
    await simulation.close()


def bash(*commands: str, finish: str | None = None) -> str:
    end = f"```finish\n{finish}\n```\n" if finish else ""
    return "Do this:\n" + "".join(f"```bash\n{command}\n```\n" for command in commands) + end


async def test_a_task_follows_the_scripted_model_to_its_finish(stage: Stage, upload):
    csv = await upload(b"1\n2\n3\n", "numbers.csv")
    work = bash(
        "cat task_files/numbers.csv", "echo 6 > sum.txt", finish='--complete-task --message "Summed up" sum.txt'
    )
    task = await stage.dispatch(work, inputFileIds=[csv])
    ended = await stage.run(task)
    assert (ended["status"], ended["result"]) == ("finished", "Summed up"), ended["error"]
    assert await stage.outputs(task) == {"sum.txt": b"6\n"}
    assert "1\n2\n3\n" in await stage.said(task)
    seen = (await stage.client.get(f"/tasks/{task['id']}")).json()
    assert seen["tokenUsage"]["calls"] == 3


async def test_it_hibernates_and_goes_on_where_it_was_when_it_is_woken(stage: Stage):
    task = await stage.dispatch(bash("echo kept > kept", "hibernate --for 1h --message later", "cat kept"))
    assert (await stage.run(task))["status"] == "hibernating"
    assert (await stage.client.post(f"/tasks/{task['id']}/wake", json={"kind": "external_wake"})).status_code == 200
    assert (await stage.run(task))["status"] == "finished"
    assert "kept\n" in await stage.said(task)


async def test_a_conversation_answers_message_by_message_and_keeps_its_files(stage: Stage):
    task = await stage.converse(bash("echo a,b > t.csv; attach t.csv; echo given"))
    async with stage.running(task):
        await stage.until(task, lambda row, run: run["settled_at"])
        tasks.end_turn(stage.host.db, task["id"], None, stage.host.now())
        await stage.client.post(f"/conversations/{task['id']}/messages", json={"content": bash("cat t.csv")})
        await stage.until(task, lambda row, run: row["turn_number"] == 2 and run["settled_at"])
    said = (await stage.client.get(f"/conversations/{task['id']}/messages?order=asc")).json()["data"]
    answers = [message for message in said if message["role"] == "assistant"]
    assert [answer["content"].strip().splitlines()[-1] for answer in answers] == ["given", "a,b"]
    assert [[file["filename"] for file in answer["files"]] for answer in answers] == [["t.csv"], []]
    assert await stage.outputs(task) == {"t.csv": b"a,b\n"}


async def test_what_a_conversation_or_a_task_may_not_do_is_refused_with_the_reason(stage: Stage):
    wrong = [
        "--for 0s",
        "--for 40d",
        "--until 2020-01-01T00:00:00Z",
        "--until tomorrow",
        "",
        "--for 1h --until 2030-01-01",
    ]
    task = await stage.dispatch(
        bash(*(f"hibernate {given}; echo code $?" for given in wrong), "attach x; echo code $?")
    )
    assert (await stage.run(task))["status"] == "finished"
    codes = [line for line in (await stage.said(task)).splitlines() if line.startswith("code ")]
    assert codes == ["code 2", "code 1", "code 1", "code 1", "code 2", "code 2", "code 1"]


async def test_a_refused_finish_tells_why_and_the_next_one_is_accepted(stage: Stage):
    policy = {"mode": "named", "files": [{"name": "report"}]}
    early = "echo hi > r.md; finish --complete-task --message Early || echo refused with $?"
    work = bash(early, finish="--complete-task --message Done --output report=r.md")
    task = await stage.dispatch(work, overrides={"outputPolicy": policy})
    assert (await stage.run(task))["result"] == "Done"
    assert "Required outputs are missing: report" in await stage.said(task)
    assert "refused with 1" in await stage.said(task)


STEPS = (
    Say("I look at it."),
    Tool("make report", "made", files={"report/a.md": b"A"}),
    Wait(600),
    Finish("All done", {"b.png": b"B"}, {"report": ("report/a.md", b"# A")}),
)


async def test_a_script_speaks_works_waits_and_finishes_with_files(stage: Stage, plays):
    plays["script"] = lambda turn: script(*STEPS)
    policy = {"mode": "named", "files": [{"name": "report"}]}
    task, began = await stage.dispatch("Whatever.", overrides={"outputPolicy": policy}), stage.host.now()
    ended = await stage.run(task)
    assert (ended["status"], ended["result"]) == ("finished", "All done"), ended["error"]
    assert (stage.host.now() - began).total_seconds() == 600
    files = (await stage.client.get(f"/tasks/{task['id']}/files")).json()["data"]
    assert {file["filename"]: file["outputName"] for file in files} == {"a.md": "report", "b.png": None}
    assert (await stage.said(task)).startswith("made")
    said = (await stage.client.get(f"/tasks/{task['id']}/messages?order=asc")).json()["data"]
    assert "I look at it." in [message["content"] for message in said]


async def test_the_function_that_gives_scripts_is_told_what_the_agent_is_asked(stage: Stage, plays):
    asked: list[Turn] = []

    def scripts(turn: Turn):
        asked.append(turn)
        return script(Finish()) if "by script" in turn.message else None

    plays["script"] = scripts
    tasks_ = [await stage.dispatch(words) for words in ("Do it by script.", "Do it.\n" + bash("true"))]
    assert [(await stage.run(task))["status"] for task in tasks_] == ["finished"] * 2
    assert [(turn.task_id, turn.mode, turn.model) for turn in asked] == [
        (task["id"], "autonomous", "scripted") for task in tasks_
    ]
    assert [(await stage.client.get(f"/tasks/{task['id']}")).json()["tokenUsage"]["calls"] for task in tasks_] == [0, 2]


async def test_a_script_goes_on_behind_its_hibernation_and_its_death(stage: Stage, plays):
    plays["script"] = lambda turn: script(
        Tool("one", "1"), Hibernate(60), Die("out of luck"), Tool("two", "2"), Finish()
    )
    task = await stage.dispatch("Sleep, die, finish.")
    assert (await stage.run(task))["status"] == "hibernating"
    await stage.client.post(f"/tasks/{task['id']}/wake", json={"kind": "external_wake"})
    async with stage.running(task) as life:
        assert await asyncio.wait_for(life.exited, 10) == Exit(died=True, last_words="out of luck")
    tasks.died(stage.host.db, task["id"], stage.host.now(), last_words="out of luck")
    assert (await stage.run(task))["status"] == "finished"
    assert await stage.said(task) == "12"


async def test_a_script_that_does_not_fit_the_task_says_which_step_of_it(stage: Stage, plays):
    plays["script"] = lambda turn: script(Say("Hm."), Finish(outputs={"report": ("r.md", b"")}), name="wrong one")
    task = await stage.dispatch("This has no named outputs.")
    async with stage.running(task):
        await stage.until(task, lambda row, run: run["settled_at"])
        error = tasks.open_run(stage.host.db, task["id"])["settled_error"]
    assert error.startswith("The script does not fit the task: wrong one, step 2 (finish) was refused. ")


async def test_a_step_that_may_be_refused_is_followed_by_the_next_one(stage: Stage, plays):
    early = Finish("Early", may_be_refused=True)
    plays["script"] = lambda turn: script(early, Finish("Done", outputs={"report": ("r.md", b"x")}))
    policy = {"mode": "named", "files": [{"name": "report"}]}
    task = await stage.dispatch("Two tries.", overrides={"outputPolicy": policy})
    assert (await stage.run(task))["result"] == "Done"


async def test_a_broken_limit_is_reported_and_a_failed_model_is_the_settled_error(stage: Stage, plays):
    plays["script"] = lambda turn: script(Exceed("memory_mb", 5000))
    task = await stage.dispatch("Fill the memory.")
    async with stage.running(task) as life:
        broken = await asyncio.wait_for(life.broken, 10)
        assert (broken.limit, broken.used, broken.allowed) == ("memory_mb", 5000, 4096)
    plays["script"] = lambda turn: script(Fail("the model is gone"))
    task = await stage.dispatch("Fail.")
    async with stage.running(task):
        await stage.until(task, lambda row, run: run["settled_at"])
        assert tasks.open_run(stage.host.db, task["id"])["settled_error"] == "the model is gone"


async def test_a_script_may_attach_files_and_then_follow_the_model(stage: Stage, plays):
    plays["script"] = lambda turn: script(Attach({"a.txt": b"A"}), FollowModel())
    task = await stage.converse("Hello there")
    await stage.run(task)
    assert await stage.outputs(task) == {"a.txt": b"A"}
    said = (await stage.client.get(f"/conversations/{task['id']}/messages?order=asc")).json()["data"]
    assert said[-1]["content"] == "Hello there"


async def test_the_output_of_a_block_can_be_given(stage: Stage):
    given = "python3 sum.py > /dev/null\n# simulated output: 6\n# simulated file out/sum.txt: 6"
    task = await stage.dispatch(bash(given, "awk 1 x | sort", finish="--complete-task --message M out"))
    ended = await stage.run(task)
    assert ended["status"] == "finished", ended["error"]
    assert "[simulated: not run: awk, sort]" in await stage.said(task)
    assert list(await stage.outputs(task)) == ["out.tar"]


async def test_what_blocks_print_may_come_from_a_function(stage: Stage, plays):
    table = {"make": "all made\n", "make check": Ran("1 failed\n", code=2)}
    plays["outputs"] = table.get
    task = await stage.dispatch(bash("make", "make check", "echo own"))
    assert (await stage.run(task))["status"] == "finished"
    assert await stage.said(task) == "all made\n1 failed\n\n\nCommand exited with code 2own\n"  # as Pi does


async def test_a_stop_keeps_files_and_session_and_the_cut_call_is_not_made_again(stage: Stage, plays):
    halt = asyncio.Event()

    async def never(seconds: float) -> None:
        halt.set()
        await asyncio.get_running_loop().create_future()

    plays["sleep"] = never
    task = await stage.dispatch(bash("echo one > log", "sleep 60; echo never", "cat log"))
    async with stage.running(task) as life:
        assert life.start is Start.FIRST
        await asyncio.wait_for(halt.wait(), 10)
    async with stage.running(task) as life:
        assert life.start is Start.RESUMED
        assert (await stage.until(task, lambda row, run: row["status"] == "finished"))["result"] == "Done"
    assert await stage.said(task) == "(no output)one\n"


async def test_a_task_takes_a_few_milliseconds(stage: Stage):
    for _ in range(3):
        await stage.run(await stage.dispatch(bash("true")))
    tasks_ = [await stage.dispatch(bash("echo a > a", finish="--complete-task --message M a")) for _ in range(20)]
    began = time.process_time()
    for task in tasks_:
        assert (await stage.run(task))["status"] == "finished"
    assert (time.process_time() - began) / 20 < 0.05
