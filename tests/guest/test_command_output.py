"""What a command prints: while it runs, when one line is very long, and when the command ends the run."""

import asyncio

import pytest

from .door import Door
from .lab import Lab
from .wire import bash


async def result_of(lab: Lab, door: Door, command: str, **arguments) -> str:
    """What the model is told that the command printed."""
    door.answers = [bash(command, **arguments)]
    lab.launch()
    await lab.start()
    door.prompt("Go")
    await door.heard("settled")
    [result] = [
        part
        for message in door.asked[1].body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "tool_result"
    ]
    content = result["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


LONG = "head -c {size} /dev/zero | tr '\\0' x; printf 'END-MARKER{after}'"


@pytest.mark.parametrize(
    ("size", "after", "said"),
    [
        (60_000, "", "58.6 KB"),
        (60_000, "\\n", "58.6 KB"),
        (250_000, "", "244.2 KB"),
        (250_000, "\\n", "244.2 KB"),
        (3_000_000, "\\n", "2929.7 KB"),
        (250_000, "\\n\\n", "244.2 KB"),
    ],
)
async def test_the_end_of_a_very_long_line_is_shown_with_its_size(lab: Lab, door: Door, size, after, said):
    text = await result_of(lab, door, LONG.format(size=size, after=after))
    assert "xxxEND-MARKER" in text and said in text
    assert "(no output)" not in text and "0B)" not in text
    assert 50_000 < len(text) < 52_000


async def test_a_long_line_of_a_command_that_fails_is_shown_with_its_exit_code(lab: Lab, door: Door):
    text = await result_of(lab, door, LONG.format(size=250_000, after="\\n") + "; exit 3")
    assert "xxxEND-MARKER" in text and text.endswith("Command exited with code 3")


async def test_a_long_line_of_a_command_that_takes_too_long_is_shown(lab: Lab, door: Door):
    text = await result_of(lab, door, LONG.format(size=250_000, after="\\n") + "; sleep 60", timeout=2)
    assert "xxxEND-MARKER" in text and "timed out after 2 seconds" in text


async def test_a_long_line_before_short_ones_is_shown_too(lab: Lab, door: Door):
    text = await result_of(lab, door, LONG.format(size=250_000, after="\\n") + "; seq 3")
    assert "xxxEND-MARKER\n1\n2\n3\n\n[Showing the last 50.0 KB of 244.2 KB." in text


async def test_many_lines_are_shown_as_pi_shows_them(lab: Lab, door: Door):
    assert "[Showing lines 3001-5000 of 5000. Full output" in await result_of(lab, door, "seq 5000")


async def test_what_a_command_prints_is_told_while_it_runs(lab: Lab, door: Door):
    door.answers = [bash("printf 'first\\n10%%\\r50%%\\r'; until [ -e go ]; do sleep 0.05; done; echo last")]
    lab.launch()
    await lab.start()
    door.prompt("Go")
    async with asyncio.timeout(20):
        while "first\n50%" not in door.outputs:
            await asyncio.sleep(0.02)
    assert not door.events("tool_ended")
    (lab.workspace / "go").touch()
    assert (await door.heard("tool_ended"))["output"].endswith("last\n")


async def test_a_live_output_is_small_however_much_is_printed(lab: Lab, door: Door):
    await result_of(lab, door, "seq 400000; head -c 250000 /dev/zero | tr '\\0' y; echo; sleep 0.5")
    assert max(map(len, door.outputs)) <= 4096
    assert door.outputs[-1].rstrip().endswith("yyy")


@pytest.mark.parametrize(
    "ending",
    [
        "finish --complete-task --message yo",
        "hibernate --for 1h",
        "sh -c 'finish --complete-task -m yo' >/dev/null",
    ],
)
async def test_the_output_before_a_command_that_ends_the_run_is_told_first(lab: Lab, door: Door, ending: str):
    told = []
    door.refuse = lambda what, body: told.append(door.events("tool_output")) and None
    door.answers = [bash(f"seq 3; sleep 0.3; echo hello; {ending}")]
    lab.launch()
    await lab.start()
    door.prompt("Go")
    await door.heard("settled")
    assert [event["text"].rstrip() for event in told[0]] == ["1\n2\n3\nhello"]
    assert door.accepted or door.naps
    assert told[0][0]["callId"] == door.events("tool_started")[0]["callId"]
