"""What happens when the host goes away and comes back, says things again, or Pi dies."""

import asyncio
import json
import os
import signal
from pathlib import Path

from agentcontainer_local.errors import Invalid
from agentcontainer_local.guest.events import parse

from .door import Door
from .lab import Lab
from .wire import Say, bash, call


async def test_the_host_may_be_away_from_the_start(lab: Lab, door: Door):
    await door.close()
    lab.launch()
    await lab.start()
    await asyncio.sleep(1)
    door.answers = [Say("hello")]
    door.prompt("Hi")
    await door.open()
    await door.heard("settled")
    assert door.events("message")[0]["text"] == "hello"


async def test_work_goes_on_while_the_host_is_away_and_nothing_is_lost_or_done_twice(lab: Lab, door: Door):
    door.answers = [bash("echo start >> log; sleep 1.5; echo end >> log"), Say("done")]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("tool_started")
    await door.close()
    await asyncio.sleep(3)  # the command ends and the next model call is held meanwhile
    assert door.events("tool_ended") == []
    await door.open()  # says the prompt again
    await door.heard("settled")
    assert (lab.workspace / "log").read_text() == "start\nend\n"
    assert len(door.asked) == 2 and len(door.events("prompted")) == 1
    assert len(door.boots) == 1


async def test_a_model_call_that_the_hosts_end_broke_off_is_made_again(lab: Lab, door: Door):
    begun = asyncio.Event()

    async def hang(request):
        begun.set()
        await asyncio.sleep(60)

    door.before_answer = hang
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await begun.wait()
    await door.close()
    door.before_answer = None
    door.answers = [Say("hello")]
    await asyncio.sleep(0.5)
    await door.open()
    await door.heard("settled")
    assert door.events("retrying") == [], "held by the daemon, unseen by Pi"
    assert door.events("message")[0]["text"] == "hello"


async def test_an_acknowledgement_that_got_lost_does_no_harm(lab: Lab, door: Door):
    door.lose_acks = 3
    door.answers = [bash("true"), Say("done")]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert max(door.received.values()) > 1, "some were sent again"
    assert [event["type"] for event in door.events()].count("tool_ended") == 1


async def test_an_event_that_the_host_will_never_take_does_not_keep_back_the_others(lab: Lab, door: Door):
    door.gaps = True
    door.unacceptable = lambda event: event.get("tool") == "odd"
    door.answers = [bash("true"), call("odd"), bash("true"), Say("done")]
    lab.launch()
    await lab.start()
    await door.heard("ready")
    door.storing.clear()
    door.prompt("Hi")
    await asyncio.sleep(1.5)  # a batch of many gathers
    door.storing.set()
    await door.heard("settled")
    assert [event["tool"] for event in door.events("tool_ended")] == ["bash", "bash"]
    assert len(door.events("message")) == 4


async def test_half_a_character_costs_nothing_but_itself(lab: Lab, door: Door):
    """Pi counts in UTF-16, where a text may end within a character; the host takes UTF-8 alone."""
    door.unacceptable = _no_event
    door.answers = [
        call("bash", command="echo 'half \ud83d, whole \U0001f600, spelt \\ud83d'", **{"key \ude00": 1}),
        call("finish", completion="complete", message="Done \udfff", files=[]),
    ]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    started = door.events("tool_started")[0]
    assert started["input"]["command"] == "echo 'half \ufffd, whole \U0001f600, spelt \\ud83d'"
    assert started["input"]["key \ufffd"] == 1
    assert [event["tool"] for event in door.events("tool_ended")] == ["bash", "finish"]
    assert [delivery.begun["message"] for delivery in door.accepted] == ["Done \ufffd"]


async def test_words_that_end_within_a_character_are_said(lab: Lab, door: Door):
    door.unacceptable = _no_event
    door.answers = [Say("cut \ud83d")]
    lab.launch(mode="conversation")
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    assert [event["text"] for event in door.events("message")] == ["cut \ufffd"]
    assert "".join(door.deltas) == "cut \ufffd"


def _no_event(event: dict) -> bool:
    """As the host itself finds."""
    try:
        parse([json.dumps({"seq": 1, "at": 1, "event": event}).encode()])
    except Invalid:
        return True
    return False


async def test_commands_said_again_are_done_once(lab: Lab, door: Door):
    door.answers = [Say("one"), Say("two")]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("settled")
    for _ in range(3):
        await door.close()
        await door.open()
        await asyncio.sleep(0.3)
    door.prompt("Again", id="turn-2")
    await door.heard("settled", 2)
    assert [event["id"] for event in door.events("prompted")] == ["turn-1", "turn-2"]
    assert len(door.asked) == 2


async def test_a_run_that_is_over_ends_the_daemon(lab: Lab, door: Door):
    door.over = True
    lab.launch()
    daemon = await lab.start()
    assert await asyncio.wait_for(daemon.wait(), 10) == 0


async def test_a_run_that_is_over_does_not_keep_a_daemon_whose_pi_has_ended(lab: Lab, door: Door):
    lab.launch()
    daemon = await lab.start()
    await door.heard("ready")
    door.over = True
    os.kill(lab.pi_pid(), signal.SIGKILL)
    assert await asyncio.wait_for(daemon.wait(), 10) == 1


async def test_pi_killed_is_reported_before_the_daemon_ends(lab: Lab, door: Door):
    lab.launch()
    daemon = await lab.start()
    await door.heard("ready")
    os.kill(lab.pi_pid(), signal.SIGKILL)
    exited = await door.heard("pi_exited")
    assert (exited["code"], exited["signal"]) == (None, "SIGKILL")
    assert await daemon.wait() == 1


async def test_pi_killed_while_the_host_is_away_is_reported_when_it_is_back(lab: Lab, door: Door):
    lab.launch()
    daemon = await lab.start()
    await door.heard("ready")
    await door.close()
    await asyncio.sleep(0.2)
    os.kill(lab.pi_pid(), signal.SIGKILL)
    await asyncio.sleep(3)
    await door.open()
    await door.heard("pi_exited")
    assert await daemon.wait() == 1


async def test_pis_last_words_are_reported(lab: Lab, door: Door):
    lab.launch(argv=[str(lab.node), f"{lab.root}/agent/pi/dist/bundle/cli.js", "--mode", "rpc", "--no-such-flag"])
    daemon = await lab.start()
    exited = await door.heard("pi_exited")
    assert exited["code"] == 1 and "no-such-flag" in exited["stderr"]
    assert await daemon.wait() == 1


async def test_a_pi_that_cannot_be_started_is_reported(lab: Lab, door: Door):
    lab.launch(argv=["/nowhere/node"])
    daemon = await lab.start()
    assert "could not be started" in (await door.heard("pi_exited"))["stderr"]
    assert await daemon.wait() == 1


async def test_a_taken_port_is_reported(lab: Lab, door: Door):
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", lab.port)
    lab.launch()
    daemon = await lab.start()
    assert "EADDRINUSE" in (await door.heard("pi_failed"))["message"]
    assert await daemon.wait() == 1
    taken.close()
    await taken.wait_closed()


async def test_a_new_container_resumes_a_prompt_that_had_arrived(lab: Lab, door: Door):
    door.answers = [bash("sleep 60")]
    lab.launch()
    await lab.start()
    door.prompt("Hi", resume="Go on.")
    await door.heard("tool_started")
    door.send(type="steer", id="soft", message="Wrap up.")
    await door.heard("prompted", 2)
    await lab.kill()
    await door.next_life()
    door.answers = [Say("resumed")]
    await lab.start()
    await door.heard("settled")
    assert door.events("prompted")[0] == {"type": "prompted", "id": "turn-1", "resumed": True}
    said = json.dumps(door.asked[-1].body["messages"])
    assert said.count("Hi") == 1 and "Go on." in said


async def test_a_new_container_repeats_a_prompt_that_had_not_arrived(lab: Lab, door: Door):
    """Also when the user says the same words twice: the second is not taken for the first."""
    door.answers = [Say("first"), Say("second")]
    lab.launch(mode="conversation")
    await lab.start()
    door.prompt("continue", id="turn-1", resume="Go on.")
    await door.heard("settled")
    await lab.kill()
    await door.next_life()
    door.commands.clear()  # that turn is over
    door.prompt("continue", id="turn-2", resume="Go on.")
    await lab.start()
    await door.heard("settled")
    assert door.events("prompted") == [{"type": "prompted", "id": "turn-2", "resumed": False}]
    assert json.dumps(door.asked[-1].body["messages"]).count("continue") == 2


async def test_stop_ends_pi_in_order_and_its_session_can_be_resumed(lab: Lab, door: Door):
    door.answers = [bash("sleep 60")]
    lab.launch()
    daemon = await lab.start()
    door.prompt("Hi", resume="Go on.")
    await door.heard("tool_started")
    door.send(type="stop", id="stop-1")
    assert await asyncio.wait_for(daemon.wait(), 5) == 0
    session = next((lab.state / "sessions").glob("*.jsonl")).read_text()
    assert "Command aborted" in session


async def test_sigterm_is_an_orderly_stop_with_the_host_away_too(lab: Lab, door: Door):
    lab.launch()
    daemon = await lab.start()
    await door.heard("ready")
    await door.close()
    daemon.terminate()
    assert await asyncio.wait_for(daemon.wait(), 6) == 0


async def test_abort_ends_the_turn_and_what_was_queued(lab: Lab, door: Door):
    door.answers = [bash("sleep 60"), Say("next")]
    lab.launch(mode="conversation")
    await lab.start()
    door.prompt("Hi")
    await door.heard("tool_started")
    door.prompt("And then", id="turn-2")
    await door.heard("prompted", 2)
    door.send(type="abort", id="abort-1")
    assert (await door.heard("settled", within=5))["aborted"] is True
    await asyncio.sleep(0.5)
    assert len(door.asked) == 1
    door.prompt("Still there?", id="turn-3")
    await door.heard("settled", 2)
    assert door.events("message")[-1]["text"] == "next"


async def test_an_abort_also_ends_a_prompt_that_waits_for_pi(lab: Lab, door: Door):
    door.prompt("Hi")
    door.send(type="abort", id="abort-1")
    lab.launch(mode="conversation")
    await lab.start()
    assert (await door.heard("settled"))["aborted"] is True
    await door.heard("ready")
    door.prompt("Hello", id="turn-2")
    await door.heard("settled", 2)
    assert [event["id"] for event in door.events("prompted")] == ["turn-2"]


async def test_a_steer_reaches_a_running_agent_before_its_next_request(lab: Lab, door: Door):
    door.answers = [bash("sleep 1"), Say("ok")]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("tool_started")
    door.send(type="steer", id="soft", message="Wrap up now.")
    await door.heard("settled")
    assert "Wrap up now." in json.dumps(door.asked[1].body)


async def test_a_full_store_of_events_stops_pi_and_not_the_memory(lab: Lab, door: Door):
    """Pi writes far more than 16 MiB of events while the host does not store any: all arrive, in order, later."""
    lab.launch(argv=_chatter(lab, count=120, size=250_000))
    daemon = await lab.start()
    await door.heard("ready")
    door.storing.clear()
    door.prompt("Hi")
    await asyncio.sleep(3)
    held = _resident_mib(daemon.pid)
    written = int((lab.workspace / "written").read_text())
    door.storing.set()
    await door.heard("settled", within=30)
    assert [event["text"][:6] for event in door.events("message")] == [f"{i:06}" for i in range(120)]
    assert written < 120, "Pi was not stopped"
    assert held < 300


def _chatter(lab: Lab, count: int, size: int) -> list[str]:
    """A program that speaks as Pi does and has much to say; it writes down how far it came."""
    program = lab.root / "chatter.mjs"
    program.write_text(f"""
        import {{ writeFileSync }} from "node:fs";
        import {{ once }} from "node:events";
        import {{ createInterface }} from "node:readline";
        const say = async (line) => process.stdout.write(JSON.stringify(line) + "\\n") || once(process.stdout, "drain");
        for await (const text of createInterface({{ input: process.stdin }})) {{
          const {{ id, type }} = JSON.parse(text);
          const model = {{ provider: "anthropic", id: "claude-sonnet-4-5" }};
          await say({{ id, type: "response", command: type, success: true, data: {{ model, messageCount: 0 }} }});
          if (type !== "prompt") continue;
          for (let i = 0; i < {count}; i++) {{
            const text = String(i).padStart(6, "0") + "z".repeat({size});
            await say({{ type: "turn_end", message: {{ text }} }});
            await say({{ type: "message_end", message: {{ role: "assistant", content: [{{ type: "text", text }}] }} }});
            writeFileSync("written", String(i));
          }}
          await say({{ type: "agent_settled", aborted: false }});
        }}
    """)
    return [str(lab.node), str(program)]


def _resident_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024
