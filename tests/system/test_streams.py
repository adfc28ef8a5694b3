"""Live streams of a real server: resumed without loss or repetition, for many and for slow readers."""

import asyncio
import json
import os
import socket
import threading
import time

import httpx
import pytest

from tests.system.conftest import Server, wait_until
from tests.system.test_main_job import bash

WORK = bash(*(f"echo line {n}" for n in range(6)))


def events(text: str) -> list[dict]:
    """The blocks of a stream: {id?, event?, data?}; comments and retry are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "event" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def whole(server: Server, task_id: str, **options) -> str:
    """The stream of a task until its end."""
    return server.client.get(f"/api/v1/tasks/{task_id}/events", **{"params": {"stream": "true"}, **options}).text


def numbers(found: list[dict]) -> list[int]:
    return [int(event["id"]) for event in found if "id" in event]


def test_a_stream_tells_everything_and_ends_with_the_task(simulated: Server):
    task = simulated.dispatch(WORK)
    answer = simulated.client.get(f"/api/v1/tasks/{task['id']}/events", params={"stream": "true"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    found = events(answer.text)
    stored = simulated.history(task["id"])
    assert [(int(e["id"]), e["event"], e["data"]) for e in found if "id" in e] == [
        (e["id"], e["event"], e["data"]) for e in stored
    ]
    assert found[-1]["data"]["status"] == "finished" or found[-1]["event"] == "message.updated"
    assert {e["event"] for e in found} >= {"task.updated", "message.created", "activity.started", "activity.completed"}


def test_a_stream_that_is_cut_again_and_again_is_resumed_without_loss_or_repetition(simulated: Server):
    task = simulated.dispatch(bash(*(f"echo line {n}; sleep 0.2" for n in range(6))))
    seen: list[int] = []
    while True:
        headers = {"last-event-id": str(seen[-1])} if seen else {}
        text = ""
        with simulated.client.stream(
            "GET", f"/api/v1/tasks/{task['id']}/events", params={"stream": "true"}, headers=headers
        ) as answer:
            for chunk in answer.iter_text():
                text += chunk
                if len(numbers(events(text[: text.rfind("\n\n") + 2]))) >= 2:
                    break
        got = numbers(events(text[: text.rfind("\n\n") + 2]))
        seen += got
        if not got and simulated.get(f"/tasks/{task['id']}")["status"] == "finished":
            break
    assert seen == [event["id"] for event in simulated.history(task["id"])]


def test_after_and_the_page_give_the_same_events(simulated: Server):
    task = simulated.run(WORK)
    stored = simulated.history(task["id"])
    middle = stored[len(stored) // 2]["id"]
    rest = [event["id"] for event in stored if event["id"] > middle]
    assert numbers(events(whole(simulated, task["id"], params={"stream": "true", "after": middle}))) == rest
    assert [e["id"] for e in simulated.get(f"/tasks/{task['id']}/events", after=middle)["data"]] == rest
    bad = simulated.client.get(
        f"/api/v1/tasks/{task['id']}/events", params={"stream": "true"}, headers={"last-event-id": "abc"}
    )
    assert bad.status_code == 422


def test_a_browser_gives_its_key_in_the_query(simulated: Server):
    task = simulated.run(bash("true"))
    url = f"{simulated.url}/api/v1/conversations/{task['id']}/events"
    with httpx.Client(trust_env=False) as browser:
        assert browser.get(url, params={"stream": "true", "apiKey": simulated.key}).status_code == 200
        assert browser.get(url, params={"stream": "true", "apiKey": "ac_live_wrong"}).status_code == 401
        assert browser.get(url, params={"stream": "true"}).status_code == 401


def test_the_words_of_an_answer_come_while_it_is_written(server: Server):
    task = server.converse("Hello")
    server.answered(task["id"], 1)
    texts: list[tuple[str, str]] = []

    def listen() -> None:
        url = f"/api/v1/conversations/{task['id']}/events"
        with server.client.stream("GET", url, params={"stream": "true", "after": last}, timeout=30) as answer:
            text = ""
            for chunk in answer.iter_text():
                text += chunk
                texts[:] = [(e["event"], e["data"].get("text", "")) for e in events(text[: text.rfind("\n\n") + 2])]
                if '"event":"turn_ended"' in text:
                    return

    last = server.history(task["id"])[-1]["id"]
    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.3)
    server.say(task["id"], "```say\nSwallows and amazons for ever\n```")
    listener.join(timeout=60)
    said = "".join(text for event, text in texts if event == "message.delta")
    assert said.strip() == "Swallows and amazons for ever"
    created = [n for n, (event, _) in enumerate(texts) if event == "message.created"]
    assert texts.index(next(t for t in texts if t[0] == "message.delta")) < created[-1]
    server.post(f"/tasks/{task['id']}/cancel", expect=200)


def test_the_output_of_a_command_is_streamed_while_it_runs_and_kept_when_it_ends_the_task(server: Server):
    task = server.dispatch(bash("echo early; sleep 2; seq 3; echo hello; finish --complete-task --message yo"))
    found = events(whole(server, task["id"]))
    live = [event["data"]["text"] for event in found if event["event"] == "activity.output"]
    assert live[0] == "early\n" and live[-1] == "early\n1\n2\n3\nhello\n"
    kinds = [event["event"] for event in found]
    assert kinds.index("activity.started") < kinds.index("activity.output") < kinds.index("activity.completed")
    [ended] = [event["data"] for event in found if event["event"] == "activity.completed"]
    assert (ended["status"], ended["output"]) == ("completed", live[-1])
    assert server.get(f"/tasks/{task['id']}")["result"] == "yo"


def test_an_event_in_the_guest_is_soon_at_the_client(server: Server):
    task = server.dispatch(bash(*(f"echo at $(date +%s%N); sleep 0.{n}" for n in range(1, 6))))
    delays = []
    with server.client.stream("GET", f"/api/v1/tasks/{task['id']}/events", params={"stream": "true"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and '"at ' in line.replace("\\n", ""):
                data = json.loads(line[6:])
                if (data.get("output") or "").startswith("at "):
                    delays.append(time.time() - int(data["output"].split()[1]) / 1e9)
    assert len(delays) == 5
    # A command's end follows its `date` by its own sleep, and Pi's 100 ms: less than a second in all is soon here.
    assert max(delays) < 2


async def test_two_hundred_streams_of_one_task_all_get_everything(simulated: Server):
    task = simulated.dispatch(bash("sleep 2", *(f"echo line {n}" for n in range(4))))
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {simulated.key}"}
    async with httpx.AsyncClient(
        base_url=simulated.url, headers=headers, limits=limits, timeout=120, trust_env=False
    ) as client:
        path = f"/api/v1/tasks/{task['id']}/events"
        answers = await asyncio.gather(*(client.get(path, params={"stream": "true"}) for _ in range(200)))
    stored = [event["id"] for event in simulated.history(task["id"])]
    assert all(numbers(events(answer.text)) == stored for answer in answers)


def test_slow_readers_do_not_hold_the_servers_memory(own_server: Server):
    noise = bash("head -c 60000 /dev/zero | tr '\\0' x > text; for n in 1 2 3 4 5 6; do cat text; done; true")
    tasks = [own_server.dispatch(noise + "```say\n" + "y" * 100_000 + "\n```\n" + "z" * 200_000) for _ in range(3)]
    for task in tasks:
        own_server.wait(task["id"])
    before = memory(own_server)
    sockets = []
    for n in range(150):
        reader = socket.create_connection(("127.0.0.1", int(own_server.url.rsplit(":", 1)[1])))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        path = f"/api/v1/tasks/{tasks[n % 3]['id']}/events?stream=true&apiKey={own_server.key}"
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        sockets.append(reader)
    time.sleep(2)
    grown = memory(own_server) - before
    for reader in sockets:
        reader.close()
    assert grown < 150 * 2**20, f"{grown / 2**20:.0f} MiB for 150 readers that do not read"


def memory(server: Server) -> int:
    with open(f"/proc/{server.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_client_that_goes_away_is_forgotten(simulated: Server):
    task = simulated.dispatch(bash("sleep 30"))
    simulated.wait(task["id"], "running")

    def open_files() -> int:
        return len(os.listdir(f"/proc/{simulated.process.pid}/fd"))

    before = open_files()
    readers = []
    for _ in range(20):
        reader = socket.create_connection(("127.0.0.1", int(simulated.url.rsplit(":", 1)[1])))
        path = f"/api/v1/tasks/{task['id']}/events?stream=true&apiKey={simulated.key}"
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert reader.recv(12) == b"HTTP/1.1 200"
        readers.append(reader)
    assert open_files() > before + 15  # of 20: a few others of the simulated's may have been closed meanwhile
    for reader in readers:
        reader.close()
    wait_until(lambda: open_files() < before + 5, 5)
    simulated.post(f"/tasks/{task['id']}/cancel", expect=200)


@pytest.fixture(autouse=True)
def nothing_hangs(server: Server):
    yield
    assert server.process.poll() is None
