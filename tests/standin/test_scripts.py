"""Which tasks a script is for, and what becomes of one that does not fit."""

import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from agentcontainer_local.testing import BadScript, Server, attach, fail, finish, hibernate, say, tool, wait

AGENT = "agt_standard_coding"
DEFAULTS = {"model": "claude-sonnet-4-5", "internet_access": False, "max_runtime_seconds": 60}


def result(ac: Server, instructions: str = "Go.", agent: str = AGENT, **overrides) -> str | None:
    metadata = overrides.pop("metadata", None)
    task = ac.client.create_task(agent, instructions=instructions, overrides=overrides, metadata=metadata)
    return ac.client.wait(task.id).result


def test_a_script_is_for_the_tasks_that_have_all_that_it_names(ac: Server):
    mine = ac.client.create_agent(name="Reporter", base_prompt="You report.", defaults=DEFAULTS)
    ac.script(finish("any"))
    ac.script(finish("part"), instructions="weekly")
    ac.script(finish("pattern"), instructions=re.compile(r"Q[1-4]"))
    ac.script(finish("model"), model="claude-haiku-4-5")
    ac.script(finish("metadata"), metadata={"customer": "a"})
    ac.script(finish("agent"), agent="Reporter")
    ac.script(finish("both"), agent=mine.id, instructions="weekly")
    assert result(ac) == "any"
    assert result(ac, "The weekly report.") == "part"
    assert result(ac, "The report of Q3.") == "pattern"
    assert result(ac, model="claude-haiku-4-5") == "model"
    assert result(ac, metadata={"customer": "a", "more": 1}) == "metadata"
    assert result(ac, agent=mine.id) == "agent"
    assert result(ac, "The weekly report.", agent=mine.id) == "both"


def test_a_script_may_be_for_so_many_tasks(ac: Server):
    ac.script(finish("second"))
    first = ac.script(finish("first"), times=1)
    assert [result(ac), result(ac)] == ["first", "second"]
    assert len(first.tasks) == 1


def test_without_a_script_the_blocks_of_the_instructions_are_run(ac: Server):
    assert result(ac, "```finish\n--complete-task --message Block\n```") == "Block"
    assert result(ac, "Nothing is scripted.") == "Done"


def test_calls_of_a_script_count_as_usage_and_in_budgets(ac: Server):
    ac.script(tool("ls", output="a"), finish("Done"))
    task = ac.client.create_task(AGENT, instructions="Go.", overrides={"model": "claude-sonnet-4-5"})
    usage = ac.client.wait(task.id).token_usage
    assert usage.calls == 2 and usage.input_tokens > 100 and usage.cost_usd > 0


def test_a_budget_ends_a_task_whose_script_goes_on(ac: Server):
    ac.script(*[tool("cat log", output="x" * 4000)] * 40)
    task = ac.client.create_task(AGENT, instructions="Go.", overrides={"max_tokens": 9000})
    ended = ac.client.wait(task.id)
    assert ended.status == "failed" and "maxTokens of 9000" in ended.error, ended.error
    assert 1 < ended.token_usage.calls < 40


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([finish("A"), say("B")], 'script "s", step 2 (say) comes after finish'),
        ([fail("no"), finish()], 'script "s", step 2 (finish) comes after fail'),
        ([[say("A"), finish()], [say("B")]], 'script "s", turn 2 comes after finish'),
        (["finish"], 'script "s", turn 1, step 1'),
        ([], 'script "s": give steps'),
        ([say("A"), [say("B")]], 'script "s": give steps'),
        ([[]], 'script "s", turn 1 has no step'),
    ],
)
def test_a_script_that_is_wrong_in_itself_is_refused(ac: Server, steps, words: str):
    with pytest.raises(BadScript) as caught:
        ac.script(*steps, name="s")
    assert words in str(caught.value)
    assert result(ac) == "Done"  # it was not added


@pytest.mark.parametrize(
    "make",
    [
        lambda: say(""),
        lambda: tool(" "),
        lambda: tool("ls", exit_code=1),
        lambda: tool("ls", output="a\0b"),
        lambda: wait(-1),
        lambda: hibernate(0),
        lambda: hibernate(1.5),
        lambda: attach({}),
        lambda: finish(files={"a": "text"}),
        lambda: finish(files={"/etc/passwd": b""}),
        lambda: finish(files={"a": b""}, outputs={"x": ("a", b"")}),
        lambda: fail(" "),
        # of another type
        lambda: say(5),
        lambda: tool(["ls"]),
        lambda: tool("ls", output=b"a"),
        lambda: tool("ls", output="", exit_code=256),
        lambda: wait("5"),
        lambda: wait(timedelta(days=1)),
        lambda: hibernate("3d"),
        lambda: hibernate(float("inf")),
        lambda: attach(["a"]),
        lambda: attach({Path("a"): b""}),
        lambda: attach({"a/": b""}),
        lambda: finish(5),
        lambda: finish(files=["a"]),
        lambda: finish(outputs={"x": b""}),
        lambda: finish(outputs={"x": ("a", b"", b"")}),
        lambda: fail(ValueError("no")),
    ],
)
def test_a_step_that_is_wrong_in_itself_is_refused(make):
    with pytest.raises(ValueError, match=r"^(say|tool|wait|hibernate|attach|finish|fail): "):
        make()


@pytest.mark.parametrize(
    "choice",
    [
        {"times": "2"},
        {"times": 1.5},
        {"agent": 5},
        {"instructions": 5},
        {"model": re.compile(b"a")},
        {"metadata": ["a"]},
    ],
)
def test_a_choice_of_another_type_is_refused(ac: Server, choice):
    with pytest.raises(BadScript, match=rf'^script "s": {next(iter(choice))} is '):
        ac.script(finish(), name="s", **choice)
    assert result(ac) == "Done"  # it was not added


def unfit(ac: Server, task_id: str) -> str:
    """The problem of a script that did not fit; its task has failed with the same words."""
    ended = ac.client.wait(task_id)
    with pytest.raises(BadScript) as caught:
        ac.check()
    assert ended.status == "failed" and str(caught.value) in ended.error
    return str(caught.value)


def test_an_output_that_the_policy_does_not_name_fails_task_and_test(ac: Server):
    ac.script(say("A"), finish("Done", outputs={"summary": ("s.txt", b"1")}), name="report")
    policy = {"mode": "named", "files": [{"name": "table"}]}
    task = ac.client.create_task(AGENT, instructions="Go.", overrides={"output_policy": policy})
    assert unfit(ac, task.id).startswith('script "report", step 2 (finish) was refused. ')


def test_a_step_that_the_agent_cannot_do_fails_task_and_test(ac: Server):
    ac.script(attach({"a.txt": b"1"}), name="files")
    task = ac.client.create_task(AGENT, instructions="Go.")
    words = unfit(ac, task.id)
    assert words == 'script "files", step 1 (attach) is not possible: only the agent of a conversation can attach.'


def test_turns_for_an_autonomous_task_do_not_fit(ac: Server):
    ac.script([say("A")], [say("B")], name="talk")
    task = ac.client.create_task(AGENT, instructions="Go.")
    assert unfit(ac, task.id).startswith('script "talk" has turns, and the task is autonomous.')


def test_a_message_beyond_the_last_turn_does_not_fit(ac: Server):
    ac.script([say("A")], name="talk")
    task = ac.client.create_conversation(AGENT, instructions="Help.", message="One").task
    ac.client.wait(task.id, "awaiting_input")
    ac.client.create_message(task.id, content="Two")
    assert ac.client.wait(task.id, "awaiting_input").turn_status == "failed"
    with pytest.raises(BadScript, match='script "talk" has 1 turn, and the conversation goes on.'):
        ac.check()


def test_an_agent_that_there_is_not_fails_the_test(ac: Server):
    ac.script(finish(), agent="Nobody", name="report")
    with pytest.raises(BadScript, match="script \"report\" is for the agent 'Nobody'"):
        ac.check()
    ac.client.create_agent(name="Nobody", base_prompt="You are nobody.", defaults=DEFAULTS)
    ac.check()


# Over HTTP


@pytest.fixture
def http(ac: Server):
    with httpx.Client(base_url=ac.url, headers={"authorization": f"Bearer {ac.key}"}) as client:
        yield client


def test_a_script_may_come_as_json(ac: Server, http: httpx.Client, tmp_path: Path):
    finish = {"message": "Made", "files": {"a.txt": "text", "b.bin": {"base64": "AAE="}}}
    steps = [{"say": "I look."}, {"tool": {"command": "ls", "output": "a", "exitCode": 1}}, {"finish": finish}]
    added = http.post("/testing/scripts", json={"steps": steps, "instructions": {"pattern": "^Go"}, "name": "json"})
    assert (added.status_code, added.json()) == (201, {"name": "json"})
    assert ac.client.run("Go.", output=tmp_path).result == "Made"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"text", "b.bin": b"\0\1"}
    assert ac.client.run("Else.").result == "Done"


def test_turns_may_come_as_json(ac: Server, http: httpx.Client):
    assert http.post("/testing/scripts", json={"turns": [[{"say": "A"}], [{"say": "B"}]]}).status_code == 201
    task = ac.client.create_conversation(AGENT, instructions="Help.", message="One").task
    ac.client.wait(task.id, "awaiting_input")
    ac.client.create_message(task.id, content="Two")
    ac.client.wait(task.id, "awaiting_input")
    assert [one.content for one in ac.client.list_messages(task.id) if one.role == "assistant"] == ["A", "B"]


def test_a_pattern_that_is_wrong_is_named(http: httpx.Client):
    answer = http.post("/testing/scripts", json={"steps": [{"say": "A"}], "model": {"pattern": "("}})
    assert [one["field"] for one in answer.json()["error"]["fields"]] == ["model.pattern"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"steps": [], "turns": []},
        {"steps": [{}]},
        {"steps": [{"say": "A", "fail": "B"}]},
        {"steps": [{"sya": "A"}]},
        {"steps": [{"finish": {}}, {"say": "A"}]},
        {"steps": [{"finish": {"files": {"a": {"base64": "?"}}}}]},
        {"steps": [{"wait": -1}]},
        {"steps": [{"say": "A"}], "instructions": {"pattern": "("}},
        {"steps": [{"say": "A"}], "times": 0},
    ],
)
def test_a_wrong_script_as_json_is_refused(http: httpx.Client, body):
    answer = http.post("/testing/scripts", json=body)
    assert answer.status_code == 422 and answer.json()["error"]["message"], answer.text
