"""A run from the agent's first request to its end, with each provider's wire format."""

import json
import subprocess

import pytest

from .door import Door
from .lab import Lab
from .wire import Call, Say, bash, call

PROVIDERS = [
    ("anthropic", "claude-sonnet-4-5", "/anthropic/v1/messages"),
    ("openai", "gpt-5", "/openai/v1/responses"),
    ("openrouter", "openai/gpt-5", "/openrouter/api/v1/chat/completions"),
]
UNKNOWN = {
    "reasoning": False,
    "input": ["text", "image"],
    "contextWindow": 128_000,
    "maxTokens": 16_384,
    "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
}
UNKNOWN_MODELS = [
    ("anthropic", "claude-sonnet-4", "anthropic-messages", "/anthropic/v1/messages"),
    ("openai", "gpt-6", "openai-responses", "/openai/v1/responses"),
    ("openrouter", "foo/bar-1:free", "openai-completions", "/openrouter/api/v1/chat/completions"),
]


@pytest.mark.parametrize(("provider", "model", "path"), PROVIDERS)
async def test_an_agent_works_and_finishes_with_a_file(lab: Lab, door: Door, provider: str, model: str, path: str):
    door.inputs["TASK.md"] = b"Do it."
    door.answers = [
        bash("cat TASK.md > report.md; echo shown"),
        call("finish", completion="complete", message="All done", files=["~/report.md"]),
    ]
    lab.launch(provider, model)
    await lab.start()
    door.prompt("Do it.", inputs=[{"path": "task/TASK.md", "url": "/guest/inputs/TASK.md", "sizeBytes": 6}])
    await door.heard("settled")
    assert [asked.path for asked in door.asked] == [path, path]
    assert all(asked.body["model"] == model for asked in door.asked)
    assert [event["type"] for event in door.events()] == [
        "ready",
        "prompted",
        "message",
        "tool_started",
        "tool_ended",
        "message",
        "tool_started",
        "tool_ended",
        "settled",
    ]
    [delivery] = door.accepted
    assert delivery.files == {0: b"Do it."}
    assert delivery.begun == {
        "kind": "finish",
        "completion": "complete",
        "message": "All done",
        "files": [{"filename": "report.md", "sizeBytes": 6, "outputName": None, "path": f"{lab.workspace}/report.md"}],
    }
    assert door.events("ready") == [{"type": "ready", "model": {"provider": provider, "id": model}, "messageCount": 0}]
    started, ended = door.events("tool_started")[0], door.events("tool_ended")[0]
    assert started["input"]["command"].startswith("cat TASK.md") and started["inputOmittedReason"] is None
    assert ended["output"] == "shown\n" and ended["failed"] is False and ended["callId"] == started["callId"]
    message = door.events("message")[0]
    assert message["toolCalls"] == [{"id": started["callId"], "name": "bash"}]
    assert (message["stopReason"], message["model"], message["errorMessage"]) == ("toolUse", model, None)


@pytest.mark.parametrize(("provider", "model", "api", "path"), UNKNOWN_MODELS)
async def test_a_model_that_pi_does_not_know_is_asked_for_exactly(lab: Lab, door: Door, provider, model, api, path):
    door.answers = [Say("hello")]
    lab.launch(provider, model, models=[{"id": model, "api": api, **UNKNOWN}])
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert [(asked.path, asked.body["model"]) for asked in door.asked] == [(path, model)]
    assert door.events("message")[0]["text"] == "hello"
    assert "".join(door.deltas) == "hello"


async def test_another_model_than_the_one_asked_for_is_never_run(lab: Lab, door: Door):
    lab.launch("openai", "gpt-6")  # not declared: Pi takes another whose name looks like it
    daemon = await lab.start()
    door.prompt("Hi")
    failed = await door.heard("pi_failed")
    assert "instead of openai/gpt-6" in failed["message"]
    assert await daemon.wait() == 1
    assert door.asked == []


async def test_a_pi_that_starts_too_late_may_be_in_time_at_the_next_start(lab: Lab, door: Door):
    lab.launch(argv=[str(lab.node), "-e", "setInterval(() => {}, 1000)"], readyMs=300)
    daemon = await lab.start()
    failed = await door.heard("pi_failed")
    assert (failed["late"], failed["message"]) == (True, "Pi did not answer within 0.3 s.")
    assert await daemon.wait() == 1


async def test_a_refused_finish_tells_the_agent_why_and_the_agent_goes_on(lab: Lab, door: Door):
    door.refuse = lambda what, body: None if body["files"] else (422, "At least one output file is required.")
    door.answers = [
        call("finish", completion="complete", message="Done"),
        call("finish", completion="complete", message="Done", files=["missing.md"]),
        bash("echo x > a.md"),
        call("finish", completion="complete", message="Done", outputs=[{"name": "report", "path": "@a.md"}]),
    ]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    first, second = door.events("tool_ended")[:2]
    assert first["failed"] and "At least one output file" in first["output"]
    assert second["failed"] and "no such file" in second["output"]
    assert [file["outputName"] for file in door.accepted[0].begun["files"]] == ["report"]
    assert len(door.asked) == 4, "the accepted finish ends the run without another model call"


async def test_finish_works_from_the_shell_too(lab: Lab, door: Door):
    door.answers = [bash('echo hi > a.md && finish --complete-task --message "Done" a.md; echo "code $?"'), Say("bye")]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert door.accepted[0].files == {0: b"hi\n"}
    assert "code 0" in door.events("tool_ended")[0]["output"]


async def test_an_agent_can_ask_to_sleep(lab: Lab, door: Door):
    door.answers = [call("hibernate", **{"for": "forever"}), call("hibernate", **{"for": "2h", "message": "waiting"})]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert "is no duration" in door.events("tool_ended")[0]["output"]
    assert door.naps == [{"forSeconds": 7200, "message": "waiting"}]
    assert len(door.asked) == 2


@pytest.mark.parametrize(
    ("tool", "given"), [("finish", {"completion": "complete", "message": "Done"}), ("hibernate", {"for": "2h"})]
)
async def test_the_host_has_all_that_was_said_before_a_tool_ends_the_run(lab: Lab, door: Door, tool: str, given: dict):
    """It ends the run at once, and takes no more events of it."""
    had = []
    door.refuse = lambda what, body: had.append([event.get("tool", event["type"]) for event in door.events()])
    door.answers = [bash("echo x"), call(tool, **given)]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert had[0][-4:] == ["bash", "bash", "message", tool], "a call, its end, an answer and the tool that it calls"


async def test_a_conversation_has_attach_and_no_finish(lab: Lab, door: Door):
    door.answers = [bash("echo hi > a.md"), call("attach", files=["a.md"]), Say("Here it is.")]
    lab.launch(mode="conversation")
    await lab.start()
    door.prompt("Give me a file.")
    await door.heard("settled")
    tools = {tool["name"] for tool in door.asked[0].body["tools"]}
    assert "attach" in tools and not tools & {"finish", "hibernate"}
    assert door.accepted[0].begun["kind"] == "attach"
    assert door.events("message")[-1]["text"] == "Here it is."


# What would end or mislead Node, Pi and libc if it were theirs.
HARMFUL = {
    "OPENSSL_CONF": "/nowhere/openssl.cnf",
    "NODE_UNIQUE_ID": "",
    "NODE_OPTIONS": "--no-such-option",
    "NODE_CHANNEL_FD": "99",
    "LD_LIBRARY_PATH": "/nowhere",
    "TMPDIR": "/nowhere",
    "PI_CODING_AGENT_DIR": "/nowhere",
    "PI_OFFLINE": "0",
    "ANTHROPIC_API_KEY": "sk-of-the-image",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "HOME": "/root",
    "AC_MODE": "conversation",
    "here": "/nowhere",
    "program": "attach",
    "line": "1",
    "name": "2",
    "LINES": "one\nexport two=2\ntwo",
}


async def test_the_variables_of_an_image_are_for_the_agents_tools_alone(lab: Lab, door: Door):
    door.answers = [
        bash("env -0 > env.txt; head -c 60000 /dev/zero | tr '\\0' x; echo END"),
        bash("finish --complete-task -m Done"),
    ]
    lab.launch(imageEnv={**HARMFUL, "MINE": "1", "odd.name": "2", "PATH": "/image/bin:/usr/bin:/bin"})
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    env = dict(one.split("=", 1) for one in (lab.workspace / "env.txt").read_text().split("\0") if one)
    ours = {"HOME": str(lab.workspace), "PI_OFFLINE": "1", "PI_CODING_AGENT_DIR": f"{lab.state}/pi"}
    seen = {**HARMFUL, "MINE": "1", "odd.name": "2", **ours}
    del seen["AC_MODE"]
    assert {name: env.get(name) for name in seen} == seen
    assert env["PATH"].split(":")[:2] == [f"{lab.root}/agent/bin", "/image/bin"]
    assert "END" in door.events("tool_ended")[0]["output"]
    assert door.accepted[0].begun["kind"] == "finish"


async def test_the_agents_tools_have_nothing_of_our_own(lab: Lab, door: Door):
    door.answers = [bash("env > env.txt")]
    lab.launch()
    await lab.start(LD_LIBRARY_PATH="/nowhere", HTTP_PROXY="http://127.0.0.1:9", HOME="/root")
    door.prompt("Hi")
    await door.heard("settled")
    env = dict(line.split("=", 1) for line in (lab.workspace / "env.txt").read_text().splitlines() if "=" in line)
    assert env["HOME"] == str(lab.workspace)
    assert env["PATH"].split(":")[0] == f"{lab.root}/agent/bin"
    ours = {"NODE_COMPILE_CACHE", "JITI_TRY_NATIVE", "LD_LIBRARY_PATH", "AC_MODE", "AC_MODEL", "AC_WEAK_MODEL"}
    assert not env.keys() & {*ours, "TMPDIR"}
    assert not [name for name in env if "KEY" in name or "TOKEN" in name]


OURS = [
    "finish --complete-task -m Done",
    "make && finish --complete-task -m Done",
    "sh wrap-up.sh",
    "true; ./wrap-up.sh",
    "A=1 finish --complete-task -m x",
    'M="all done" B=\'x y\' finish --complete-task -m "$M"',
    'finish "$@"',
    "if true; then finish --complete-task -m x; fi",
    "for f in *; do attach $f; done",
    "(hibernate --for 2h)",
    "bash -c 'finish --complete-task -m x'",
    "set -e\nmake\n  finish --incomplete-task -m x",
    "! attach ~/a.md",
    "r=$(finish --complete-task -m x)",
    "make | tee log; finish \\\n --complete-task -m x",
    "timeout 9m attach a.md",
    "test -f x || hibernate --until 2030-01-01T00:00:00Z",
    "/opt/agentcontainer/bin/finish --complete-task -m x",
    "cat > a <<EOF\nWe don't stop.\nEOF\nfinish --complete-task -m 'That is it'",
]
NOT_OURS = [
    "make",
    "",
    "echo finish",
    "echo 'so; finish it'",
    "python train.py --attach",
    "grep -rn 'finish' src",
    "make finish",
    "sleep 9999 # until we finish",
    "git commit -m 'finish the parser'",
    "cat attach.py",
    "npm run finish",
    "tail -f finish.log",
    "sh plain.sh",
    "finish.sh",
    "./finish-build.sh",
    "docker attach x",
    "cat /dev/zero",
    "cat .",
]


async def test_a_command_without_a_limit_gets_one_and_what_waits_for_the_host_the_task_s_own(lab: Lab, tmp_path):
    """Asked of the extension itself: in a real run this would take ten minutes to see."""
    (tmp_path / "wrap-up.sh").write_text("set -e\nmake\nfinish --complete-task -m Done\n")
    (tmp_path / "plain.sh").write_text("echo to finish later\n")
    given = [{}, {"timeout": 5}, *({"command": command} for command in OURS + NOT_OURS)]
    endless = ["A=", "A=1 ", 'A="" ', "((", " ", "\n", 'x="', "; ", "a/", "=a=", "-c '", "then "]
    script = f"""
        const {{ default: extend }} = await import("{lab.root}/agent/guest/extension.mjs");
        const heard = {{}};
        extend({{ registerTool() {{}}, on: (name, handler) => (heard[name] = handler) }});
        for (const input of {json.dumps([*given, *({"command": piece * 50_000} for piece in endless)])}) {{
          heard.tool_call({{ toolName: "bash", input }});
          console.log(input.timeout);
        }}
    """
    (tmp_path / "ask.mjs").write_text(script)
    lab.launch()
    options = {"env": lab.env, "cwd": tmp_path, "timeout": 60}
    answered = subprocess.run([lab.node, "ask.mjs"], capture_output=True, text=True, check=True, **options).stdout
    limits = [600, 5, *(604_800 for _ in OURS), *(600 for _ in [*NOT_OURS, *endless])]
    found = list(map(int, answered.split()))
    asked = [*given, *endless]
    assert [asked[n] for n, limit in enumerate(limits) if found[n] != limit] == [] and len(found) == len(limits)


async def test_a_command_over_its_limit_is_ended(lab: Lab, door: Door):
    door.answers = [bash("sleep 60", timeout=1)]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    ended = door.events("tool_ended")[0]
    assert ended["failed"] and "timed out" in ended["output"]


async def test_the_weak_model_gets_the_summaries_and_the_main_model_all_else(lab: Lab, door: Door):
    # Two kilobytes of room: the second turn must be compacted before it is sent.
    tight = {"compaction": {"enabled": True, "reserveTokens": 199_900, "keepRecentTokens": 10}}
    door.answers = [Say("word " * 400), Say("a summary"), Say("after")]
    lab.launch("anthropic", "claude-sonnet-4-5", weak="claude-haiku-4-5", settings=tight)
    await lab.start()
    door.prompt("Hi " + "there " * 200)
    await door.heard("settled")
    door.prompt("And now?", id="turn-2")
    await door.heard("settled", 2)
    models = [asked.body["model"] for asked in door.asked]
    assert models[0] == models[-1] == "claude-sonnet-4-5"
    assert "claude-haiku-4-5" in models
    assert door.events("compacted")[0]["ok"]
    assert door.events("ready")[0]["model"] == {"provider": "anthropic", "id": "claude-sonnet-4-5"}


async def test_an_unknown_weak_model_fails_before_the_first_request(lab: Lab, door: Door):
    lab.launch(weak="claude-nonesuch")
    daemon = await lab.start()
    assert "claude-nonesuch" in (await door.heard("pi_failed"))["message"]
    assert await daemon.wait() == 1


async def test_huge_results_and_odd_separators_pass(lab: Lab, door: Door):
    text = "one\u2028two\u2029three\u0085four" * 1000
    (lab.workspace / "big.txt").write_text(("x" * 80 + "\n") * 500)
    big = bash("cat big.txt")
    door.answers = [Call(big.tools * 10), Call(big.tools * 10), Say(text)]
    lab.launch()
    await lab.start()
    door.prompt("Hi\u2028there")
    await door.heard("settled")
    assert door.events("message")[-1]["text"] == text
    assert len(door.events("tool_ended")) == 20
    assert all(len(event["output"].encode()) <= 4096 for event in door.events("tool_ended"))
    assert "Hi\u2028there" in json.dumps(door.asked[0].body, ensure_ascii=False)


async def test_an_input_too_large_for_the_record_is_left_out_of_it(lab: Lab, door: Door):
    door.answers = [call("write", path="a.txt", content="y" * 70_000), Say("w" * 300_000)]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    started = door.events("tool_started")[0]
    assert (started["input"], started["inputOmittedReason"]) == (None, "too_large")
    assert (lab.workspace / "a.txt").stat().st_size == 70_000
    assert len(door.events("message")[-1]["text"]) == 256 * 1024
