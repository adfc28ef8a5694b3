"""The scripted model does what the blocks say, step by step, in every wire format."""

import json
from typing import Any

import pytest

from agentcontainer_local.gateway.scripted.blocks import script, written
from agentcontainer_local.gateway.scripted.decide import Next, decide, summary
from agentcontainer_local.gateway.scripted.history import Result, Said, User, read
from tests.unit.gateway.conftest import PATHS

DONE = 'finish --complete-task --message "Done"'
TOOLS = {
    "messages": [{"name": "bash"}],
    "responses": [{"type": "function", "name": "bash"}],
    "completions": [{"type": "function", "function": {"name": "bash"}}],
}
FORMATS = {
    "messages": "anthropic",
    "responses": "openai responses",
    "completions": "openai completions",
}


class Pi:
    """Keeps a history as Pi does, in one wire format, and asks for what comes next."""

    def __init__(self, door, dialect: str, stream: bool, conversation: bool = False):
        self.door, self.dialect, self.stream = door, dialect, stream
        self.rows: list[dict[str, Any]] = []
        provider = FORMATS[dialect].split()[0]
        door.allow(
            provider=provider,
            models=frozenset({"scripted"}),
            scripted=True,
            api_key=None,
            conversation=conversation,
            base_url="http://127.0.0.1:9",
        )

    def user(self, text: str) -> None:
        kind = {"responses": "input_text"}.get(self.dialect, "text")
        self.rows.append({"role": "user", "content": [{"type": kind, "text": text}]})

    def ask(self, tools: bool = True) -> tuple[str, str | None]:
        """The text and the command; the answer is kept in the history."""
        body: dict[str, Any] = {"model": "scripted", "stream": self.stream}
        if self.dialect == "completions":
            body["stream_options"] = {"include_usage": True}
        body["input" if self.dialect == "responses" else "messages"] = self.rows
        if tools:
            body["tools"] = TOOLS[self.dialect]
        answer = self.door.post(PATHS[FORMATS[self.dialect]], body)
        assert answer.status_code == 200
        return self._take(answer)

    def result(self, text: str, failed: bool = False) -> None:
        if self.dialect == "messages":
            block = {"type": "tool_result", "tool_use_id": self.id, "content": [{"type": "text", "text": text}]}
            self.rows.append({"role": "user", "content": [{**block, "is_error": failed}]})
        elif self.dialect == "responses":
            self.rows.append({"type": "function_call_output", "call_id": self.id, "output": text})
        else:
            self.rows.append({"role": "tool", "tool_call_id": self.id, "content": text})

    def _take(self, answer) -> tuple[str, str | None]:
        if self.stream:
            events = [
                json.loads(line[6:])
                for line in answer.text.splitlines()
                if line.startswith("data: ") and line != "data: [DONE]"
            ]
            text, call = getattr(self, f"_{self.dialect}_events")(events)
        else:
            text, call = getattr(self, f"_{self.dialect}_whole")(answer.json())
        if call:
            self.id = call[0]
        self._keep(text, call)
        return text, json.loads(call[1])["command"] if call else None

    def _keep(self, text: str, call: tuple[str, str] | None) -> None:
        if self.dialect == "messages":
            content = [{"type": "text", "text": text}] if text else []
            if call:
                content.append({"type": "tool_use", "id": call[0], "name": "bash", "input": json.loads(call[1])})
            self.rows.append({"role": "assistant", "content": content})
        elif self.dialect == "responses":
            if text:
                content = [{"type": "output_text", "text": text}]
                self.rows.append({"type": "message", "role": "assistant", "content": content})
            if call:
                self.rows.append({"type": "function_call", "call_id": call[0], "name": "bash", "arguments": call[1]})
        else:
            row: dict[str, Any] = {"role": "assistant", "content": text or None}
            if call:
                function = {"name": "bash", "arguments": call[1]}
                row["tool_calls"] = [{"id": call[0], "type": "function", "function": function}]
            self.rows.append(row)

    def _messages_events(self, events):
        assert [event["type"] for event in events][:: len(events) - 1] == ["message_start", "message_stop"]
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        calls = [event["content_block"] for event in events if event.get("content_block", {}).get("type") == "tool_use"]
        given = "".join(delta.get("partial_json", "") for delta in deltas)
        return "".join(delta.get("text", "") for delta in deltas), (calls[0]["id"], given) if calls else None

    def _messages_whole(self, answer):
        calls = [(part["id"], json.dumps(part["input"])) for part in answer["content"] if part["type"] == "tool_use"]
        return "".join(p["text"] for p in answer["content"] if p["type"] == "text"), calls[0] if calls else None

    def _responses_events(self, events):
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert events[-1]["type"] == "response.completed"
        assert self._responses_whole(events[-1]["response"])[0] == text
        return self._responses_whole(events[-1]["response"])

    def _responses_whole(self, answer):
        calls = [(item["call_id"], item["arguments"]) for item in answer["output"] if item["type"] == "function_call"]
        texts = [item["content"][0]["text"] for item in answer["output"] if item["type"] == "message"]
        return "".join(texts), calls[0] if calls else None

    def _completions_events(self, events):
        deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
        calls = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
        given = "".join(call["function"]["arguments"] for call in calls)
        return "".join(delta.get("content", "") for delta in deltas), (calls[0]["id"], given) if calls else None

    def _completions_whole(self, answer):
        message = answer["choices"][0]["message"]
        calls = [(call["id"], call["function"]["arguments"]) for call in message.get("tool_calls", [])]
        return message["content"] or "", calls[0] if calls else None


@pytest.fixture(
    params=[(dialect, stream) for dialect in FORMATS for stream in (True, False)],
    ids=lambda one: f"{one[0]}-{'stream' if one[1] else 'whole'}",
)
def pi(request, door) -> Pi:
    return Pi(door, *request.param)


@pytest.fixture(
    params=[(dialect, stream) for dialect in FORMATS for stream in (True, False)],
    ids=lambda one: f"{one[0]}-{'stream' if one[1] else 'whole'}",
)
def talking(request, door) -> Pi:
    return Pi(door, *request.param, conversation=True)


def test_blocks_become_calls_in_order_and_finish_is_the_last(pi):
    pi.user("Please do this:\n```bash\necho one\n```\n```say\nNow the second.\n```\n```bash\ncat <<E\ntwo\nE\n```\n")
    assert pi.ask() == ("", "echo one")
    pi.result("one\n")
    assert pi.ask() == ("Now the second.", "cat <<E\ntwo\nE")
    pi.result("two\n")
    assert pi.ask() == ("", DONE)
    pi.result("Accepted.")
    assert pi.ask() == ("The task is finished.", None)


def test_a_finish_block_gives_the_arguments_of_the_last_finish(pi):
    pi.user('```finish\n--incomplete-task --message "half" a.txt\n```\n```bash\ntouch a.txt\n```')
    assert pi.ask()[1] == "touch a.txt"
    pi.result("(no output)")
    assert pi.ask()[1] == 'finish --incomplete-task --message "half" a.txt'


def test_a_refused_finish_is_said_and_a_nudge_does_not_change_it(pi):
    pi.user("```finish\n--complete-task --message x nothing.txt\n```")
    assert pi.ask()[1] == "finish --complete-task --message x nothing.txt"
    pi.result("nothing.txt is not there\n\nCommand exited with code 1", failed=True)
    refused = ("finish was refused: nothing.txt is not there\n\nCommand exited with code 1", None)
    assert pi.ask() == refused
    pi.user("You stopped without calling `finish`.")
    assert pi.ask() == refused


def test_further_blocks_after_a_refused_finish_go_on(pi):
    pi.user("```finish\n--message x a.txt\n```\n```bash\ntouch a.txt\n```\n```finish\n--message y a.txt\n```")
    assert pi.ask()[1] == "finish --message x a.txt"
    pi.result("Command exited with code 1", failed=True)
    assert pi.ask()[1] == "touch a.txt"
    pi.result("")
    assert pi.ask()[1] == "finish --message y a.txt"


def test_a_message_with_a_mending_block_makes_it_call_finish_again(pi):
    pi.user("```finish\n--message x a.txt\n```")
    pi.ask()
    pi.result("Command exited with code 1", failed=True)
    pi.ask()
    pi.user("```bash\ntouch a.txt\n```")
    assert pi.ask()[1] == "touch a.txt"
    pi.result("")
    assert pi.ask()[1] == "finish --message x a.txt"


def test_a_task_that_was_interrupted_goes_on_after_the_last_call(pi):
    pi.user("```bash\nfirst\n```\n```bash\nsecond\n```")
    pi.ask()
    pi.result("No result provided", failed=True)
    pi.user("The run was interrupted and has been started again.")
    assert pi.ask()[1] == "second"
    pi.result("ok")
    assert pi.ask()[1] == DONE
    pi.result("No result provided", failed=True)  # nobody knows whether it was accepted, so once more
    pi.user("The run was interrupted and has been started again.")
    assert pi.ask()[1] == DONE


def test_a_task_that_slept_goes_on_when_it_is_woken(pi):
    pi.user("```bash\nhibernate --for 1h\n```\n```bash\nls\n```")
    assert pi.ask()[1] == "hibernate --for 1h"
    pi.result("Asleep.")
    pi.user("You were woken: look\n```bash\ncat note\n```")
    assert pi.ask()[1] == "ls"
    pi.result("x")
    assert pi.ask()[1] == "cat note"


def test_without_any_block_an_autonomous_task_is_finished_at_once(pi):
    pi.user("Do something clever.")
    assert pi.ask() == ("", DONE)


def test_a_conversation_answers_with_the_last_output(talking):
    talking.user("```bash\necho a\n```\n```bash\necho b\n```")
    assert talking.ask()[1] == "echo a"
    talking.result("a\n")
    assert talking.ask()[1] == "echo b"
    talking.result("b\n")
    assert talking.ask() == ("b\n", None)
    talking.user("Thank you, and how are you today? " * 5)
    assert talking.ask() == ("Thank you, and how are you today? " * 5, None)
    talking.user("```bash\necho c\n```\n```say\nThat was it.\n```")
    assert talking.ask()[1] == "echo c"
    talking.result("c\n")
    assert talking.ask() == ("That was it.", None)


def test_a_conversation_that_was_interrupted_goes_on_with_its_turn(talking):
    talking.user("```bash\nfirst\n```\n```bash\nsecond\n```")
    talking.ask()
    talking.result("No result provided", failed=True)
    talking.user("The run was interrupted and has been started again.")
    assert talking.ask()[1] == "second"
    talking.result("2")
    assert talking.ask() == ("2", None)


def test_a_new_message_with_blocks_leaves_what_was_not_done(talking):
    talking.user("```bash\nsleep 100\n```\n```bash\nnever\n```")
    talking.ask()
    talking.result("Command aborted", failed=True)
    talking.user("```bash\nls\n```")
    assert talking.ask()[1] == "ls"


def test_a_finish_block_ends_a_conversation(talking):
    talking.user('```finish\n--complete-task --message "bye"\n```')
    assert talking.ask()[1] == 'finish --complete-task --message "bye"'
    talking.result("not here\n\nCommand exited with code 1", failed=True)
    assert talking.ask()[0].startswith("finish was refused: not here")


def test_it_is_deterministic_and_its_ids_are_not_used_twice(pi):
    pi.user("```bash\nls\n```\n```bash\nls\n```")
    history = list(pi.rows)
    pi.ask()
    first = pi.id
    pi.result("x")
    pi.ask()
    assert first.startswith("call_scripted_1_")
    assert pi.id.startswith("call_scripted_2_")
    pi.rows = history
    pi.ask()
    assert pi.id == first


def test_it_needs_no_key_and_no_network_and_reports_what_it_used(pi):
    pi.user("```bash\nls\n```")
    pi.ask()
    [usage] = pi.door.usages
    assert (usage.model, usage.cost_microusd, usage.status, usage.complete) == ("scripted", 0, 200, True)
    assert usage.input_tokens > 20
    assert usage.output_tokens == 5


def test_calls_of_another_model_in_the_history_are_not_counted(pi):
    pi.user("Something for a real model")
    pi._keep("", ("call_abc", '{"command": "ls"}'))
    pi.id = "call_abc"
    pi.result("x")
    pi._keep("Here you are.", None)
    pi.user("```bash\nls\n```")
    assert pi.ask()[1] == "ls"


def test_text_comes_in_several_deltas(door):
    pi = Pi(door, "messages", True, conversation=True)
    pi.user("a sentence that is long enough to see it come")
    body = {"model": "scripted", "stream": True, "messages": pi.rows, "tools": TOOLS["messages"]}
    assert door.post("/anthropic/v1/messages", body).text.count("text_delta") == 3


def test_the_scripted_model_is_only_there_for_a_task_that_has_it(door):
    body = {"model": "scripted", "messages": []}
    assert door.post("/anthropic/v1/messages", body).status_code == 403
    door.allow(models=frozenset({"claude-opus-4-5", "scripted"}))
    assert door.post("/anthropic/v1/messages", {**body, "tools": TOOLS["messages"]}).status_code == 200


def test_tokens_can_be_counted(door):
    Pi(door, "messages", False)
    answer = door.post("/anthropic/v1/messages/count_tokens", {"model": "scripted", "messages": []})
    assert answer.json()["input_tokens"] > 5
    assert door.usages == []


# Compaction: Pi asks for a summary of a part, and goes on with the summary and what it kept.


def serialized(*parts: str) -> str:
    return "\n\n".join(parts)


def test_a_summary_keeps_the_blocks_that_are_not_done(door):
    pi = Pi(door, "responses", True)
    parts = serialized(
        "[User]: Work:\n```bash\nfirst\n```\n```say\nGo on.\n```\n```bash\nsecond\necho '[User]: `x`'\n```",
        "```finish\n-m x\n```",
        '[Assistant tool calls]: bash(command="first")',
        "[Tool result]: ```bash\nnot this\n```",
    )
    pi.user(f"<conversation>\n{parts}\n</conversation>\n\nThe messages above are a conversation to summarize.")
    text, command = pi.ask(tools=False)
    assert command is None
    assert [step.command for step in script(text).steps] == ["second\necho '[User]: `x`'", "finish -m x"]
    assert script(text).steps[0].say == "Go on."


def test_work_goes_on_from_a_summary_and_what_was_kept_after_it():
    asked = serialized(
        "[User]: ```bash\na\n```\n```bash\nb\n```\n```bash\nc\n```",
        '[Assistant tool calls]: bash(command="a", timeout=9)',
        "[Tool result]: x",
    )
    text = summary(f"# Conversation\n{asked}\n\n# Instructions\nThe messages above are earlier context", False)
    kept = [User(f"The conversation history\n<summary>\n{text}\n</summary>"), Said("", 1, ("b",)), Result("y", False)]
    assert decide(kept, False) == Next("", "c")


def test_a_summary_of_a_summary_knows_what_was_done_since():
    first = summary("<conversation>\n[User]: ```bash\na\n```\n```bash\nb\n```\n</conversation>\n\nx", False)
    asked = '[Assistant tool calls]: bash(command="a")\n\n[Tool result]: x'
    earlier = f"<previous-summary>\n{first}\n</previous-summary>"
    again = summary(f"<conversation>\n{asked}\n</conversation>\n\n{earlier}\n\nx", False)
    assert decide([User(again)], False) == Next("", "b")


def test_a_split_turn_tells_what_was_done_of_the_part_before_it():
    """The history's summary is kept as it was; only the turn's beginning is summarised anew."""
    history = summary("<conversation>\n[User]: ```bash\na\n```\n```bash\nb\n```\n</conversation>\n\nx", False)
    prefix = '[User]: The time is nearly over.\n\n[Assistant tool calls]: bash(command="a")\n\n[Tool result]: x'
    turn = summary(f"# Conversation\n{prefix}\n\n# Instructions\nx", False)
    assert decide([User(f"{history}\n\n---\n\n**Turn Context (split turn):**\n\n{turn}")], False) == Next("", "b")


def test_a_conversations_summary_keeps_only_its_open_turn():
    done = '[User]: ```bash\na\n```\n\n[Assistant tool calls]: bash(command="a")\n\n[Tool result]: x\n\n[Assistant]: x'
    assert "```" not in summary(f"<conversation>\n{done}\n</conversation>\n\nx", True)
    still = f"{done}\n\n[User]: ```bash\nb\n```"
    assert script(summary(f"<conversation>\n{still}\n</conversation>\n\nx", True)).steps[0].command == "b"


def test_a_request_without_tools_that_is_no_summary_is_answered_too():
    assert summary("hello", False) == summary("", True) == "Summary by the scripted model. What was done is done."


@pytest.mark.parametrize("content", ["x", "a ``` b", "````\nx\n````", "", "```bash\nls\n```", "line\n\n  indented`"])
def test_a_block_that_is_written_again_reads_the_same(content):
    assert script(written("bash", content)).steps[0].command == content


def test_a_longer_fence_holds_shorter_ones():
    [step] = script("````bash\ncat > a.md <<E\n```bash\nls\n```\nE\n````").steps
    assert step.command == "cat > a.md <<E\n```bash\nls\n```\nE"


def test_other_blocks_are_only_text():
    assert script("```python\nx\n```\n```\n```\n~~~bash\nls\n~~~\n    ```bash\nx\n").steps == ()


@pytest.mark.parametrize("dialect", FORMATS)
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None, "input": 5},
        {"messages": ["x"], "input": ["x"]},
        {"messages": [{}], "input": [{}]},
        {"messages": [{"role": "user"}], "input": [{"role": "user", "content": [1, {"text": 5}]}]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "call_scripted_1", "function": {"arguments": "{"}}]}
            ],
            "input": [{"type": "function_call", "call_id": "call_scripted_1", "arguments": None}],
        },
    ],
)
def test_odd_histories_never_raise(dialect, body):
    decide(read(dialect, body), False)
    decide(read(dialect, body), True)
