"""What happens when the host goes away and comes back, says things again, or Pi dies."""

import asyncio
import json
import os
import signal
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, ClientSession, web

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
    daemon = await lab.start()
    door.prompt("Hi", resume="Go on.")
    await door.heard("tool_started")
    door.send(type="steer", id="soft", message="Wrap up.")
    await door.heard("prompted", 2)
    await _kill(lab, daemon)
    await _next_life(door)
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
    daemon = await lab.start()
    door.prompt("continue", id="turn-1", resume="Go on.")
    await door.heard("settled")
    await _kill(lab, daemon)
    await _next_life(door)
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


async def test_a_steer_reaches_a_running_agent_before_its_next_request(lab: Lab, door: Door):
    door.answers = [bash("sleep 1"), Say("ok")]
    lab.launch()
    await lab.start()
    door.prompt("Hi")
    await door.heard("tool_started")
    door.send(type="steer", id="soft", message="Wrap up now.")
    await door.heard("settled")
    assert "Wrap up now." in json.dumps(door.asked[1].body)


async def test_a_missing_input_is_refused_by_name_and_the_next_prompt_works(lab: Lab, door: Door):
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=[{"path": "task_files/a.csv", "url": "/guest/inputs/a.csv", "sizeBytes": 3}])
    refused = await door.heard("refused")
    assert refused["id"] == "turn-1" and "task_files/a.csv" in refused["message"] and "404" in refused["message"]
    door.inputs["a.csv"] = b"1,2"
    door.prompt("Hi", id="turn-2", inputs=[{"path": "task_files/a.csv", "url": "/guest/inputs/a.csv", "sizeBytes": 3}])
    await door.heard("settled")
    assert (lab.workspace / "task_files/a.csv").read_bytes() == b"1,2"
    assert sorted(path.name for path in (lab.workspace / "task_files").iterdir()) == ["a.csv"]


async def test_an_input_of_the_wrong_size_is_not_put_in_place(lab: Lab, door: Door):
    door.inputs["a.csv"] = b"1,2,3"
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=[{"path": "a.csv", "url": "/guest/inputs/a.csv", "sizeBytes": 3}])
    assert "5 bytes instead of 3" in (await door.heard("refused"))["message"]
    assert list(lab.workspace.iterdir()) == []


async def test_inputs_come_once_and_never_over_what_the_agent_made_of_them(lab: Lab, door: Door):
    names = [f"{i} ü?#.bin" for i in range(9)]
    for i, _ in enumerate(names):
        door.inputs[str(i)] = bytes([i]) * 300_000
    door.inputs["t"] = b"Do it."
    inputs = [{"path": f"task_files/{name}", "url": f"/guest/inputs/{i}", "sizeBytes": 300_000}
              for i, name in enumerate(names)]
    inputs.append({"path": "task/TASK.md", "url": "/guest/inputs/t", "sizeBytes": 6})
    lab.launch()
    daemon = await lab.start()
    door.prompt("Hi", inputs=inputs)
    await door.heard("settled")
    first = lab.workspace / "task_files" / names[0]
    assert first.read_bytes() == bytes(300_000)
    assert (lab.workspace / "TASK.md").readlink() == Path("task/TASK.md")
    first.write_bytes(b"mine")
    (lab.workspace / "task_files" / names[1]).unlink()
    await _kill(lab, daemon)
    await _next_life(door)
    await lab.start()
    await door.heard("settled")
    assert first.read_bytes() == b"mine"
    assert not (lab.workspace / "task_files" / names[1]).exists()


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


async def test_a_cut_answer_of_the_model_is_passed_on_as_a_cut(lab: Lab, door: Door):
    sent = asyncio.Event()

    async def half(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: half\n\n")
        await sent.wait()
        request.transport.abort()

    door.before_answer = half
    lab.launch()
    await lab.start()
    await door.heard("ready")
    url = f"http://127.0.0.1:{lab.port}/anthropic/v1/messages?beta=true"
    async with ClientSession() as client, client.post(url, json={"a": 1}) as answer:
        assert await answer.content.readany() == b"data: half\n\n", "bytes are passed on as they come"
        sent.set()
        with pytest.raises(ClientPayloadError):
            await answer.content.read()
    assert door.asked[-1].query == "beta=true"


async def test_a_model_call_that_nobody_waits_for_is_forgotten(lab: Lab, door: Door):
    ended = asyncio.Event()

    async def hang(request):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    door.before_answer = hang
    lab.launch()
    await lab.start()
    await door.heard("ready")
    async with ClientSession() as client:
        asking = asyncio.create_task(client.post(f"http://127.0.0.1:{lab.port}/openai/v1/responses", json={}))
        while not door.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_request_to_the_model_may_be_large_but_not_endless(lab: Lab, door: Door):
    lab.launch()
    await lab.start()
    await door.heard("ready")
    url = f"http://127.0.0.1:{lab.port}/anthropic/v1/messages"
    async with ClientSession() as client:
        large = json.dumps({"model": "m", "x": "y" * (60 << 20)}).encode()
        async with client.post(url, data=BytesIO(large)) as answer:
            assert answer.status == 200
        async with client.post(url, data=BytesIO(b"y" * (65 << 20))) as answer:
            assert answer.status == 413


async def _kill(lab: Lab, daemon) -> None:
    pi = lab.pi_pid()
    daemon.kill()
    os.kill(pi, signal.SIGKILL)
    await daemon.wait()


async def _next_life(door: Door) -> None:
    """The host knows that the container is gone: its next one is a new run, whose events begin at 1."""
    await door.close()
    door.stored.clear()
    await door.open()


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
