"""The clock of the server for tests: whatever becomes due is done in order, each at its own moment."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from agentcontainer_local.testing import Server, finish, hibernate, say, server, tool, wait
from agentcontainer_local.testing.durations import seconds

SEED = "clock"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CODING = "agt_standard_coding"


@pytest.fixture(scope="module")
def shared_seeded() -> Iterator[Server]:
    with server(seed=SEED) as ac:
        yield ac


@pytest.fixture
def seeded(shared_seeded: Server) -> Server:
    """Its clock stands still until it is moved."""
    shared_seeded.reset()
    return shared_seeded


@pytest.fixture
def api(seeded: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {seeded.key}"}
    with httpx.Client(base_url=f"{seeded.url}/api/v1", headers=headers) as client:
        yield client


def dispatched(api: httpx.Client, words: str = "Work", **overrides) -> str:
    chosen = {"model": "scripted", "maxRuntimeSeconds": 3600, **overrides}
    body = {"instructions": words, "overrides": chosen}
    return api.post(f"/agents/{CODING}/tasks", json=body).raise_for_status().json()["id"]


def conversation(api: httpx.Client, **body) -> str:
    asked = {"instructions": "You help.", "message": "Hello", "overrides": {"model": "scripted"}, **body}
    return api.post(f"/agents/{CODING}/conversations", json=asked).raise_for_status().json()["task"]["id"]


def read(api: httpx.Client, task_id: str) -> dict:
    return api.get(f"/tasks/{task_id}").raise_for_status().json()


def stored(ac: Server, sql: str) -> list[tuple]:
    """What is in no answer."""

    async def read() -> list[tuple]:
        return ac._running.host.db.conn.execute(sql).fetchall()

    return ac._running.call(read)


def after(text: str) -> timedelta:
    """From the start of the clock to a date."""
    return datetime.fromisoformat(text) - BEGAN


def updates(api: httpx.Client, task_id: str) -> list[tuple[str, float]]:
    """The task's moves, each with its second."""
    events = api.get(f"/tasks/{task_id}/events", params={"order": "asc", "limit": 1000}).raise_for_status().json()
    return [
        (event["data"]["status"], after(event["createdAt"]).total_seconds())
        for event in events["data"]
        if event["event"] == "task.updated"
    ]


def test_a_clock_with_a_seed_stands_still_and_one_without_runs(seeded: Server, ac: Server):
    assert seeded.clock.now() == seeded.clock.now() == BEGAN
    first = ac.clock.now()
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=30)
    assert ac.clock.advance("1h") - first >= timedelta(hours=1)
    assert ac.clock.now() > first + timedelta(hours=1)


def test_runtime_limits_end_tasks_each_at_its_own_moment(seeded: Server, api: httpx.Client):
    seeded.script(wait(3000), finish())
    limits = [50, 10, 30, 20, 40]
    tasks = [dispatched(api, maxRuntimeSeconds=limit) for limit in limits]
    seeded.clock.advance("1h")
    ended = [read(api, task) for task in tasks]
    assert [task["status"] for task in ended] == ["failed"] * 4 + ["failed"]
    # Four run at a time: the fifth gets the room of the first one that ends.
    assert [after(task["completedAt"]).total_seconds() for task in ended] == [50, 10, 30, 20, 50]


def test_agents_that_wait_go_on_at_their_own_moments(seeded: Server, api: httpx.Client):
    for name, pause in (("slow", 90), ("fast", 0.25), ("middle", 45)):
        seeded.script(say("Let me think"), wait(pause), tool("make", output="ok"), finish(name), instructions=name)
    tasks = {name: dispatched(api, name) for name in ("slow", "fast", "middle")}
    assert {read(api, task)["status"] for task in tasks.values()} == {"running"}
    seeded.clock.advance("1m")
    assert {name: read(api, task)["status"] for name, task in tasks.items()} == {
        "slow": "running",
        "fast": "finished",
        "middle": "finished",
    }
    seeded.clock.advance("1m")
    done = {name: after(read(api, task)["completedAt"]).total_seconds() for name, task in tasks.items()}
    assert done == {"slow": 90, "fast": 0.25, "middle": 45}


def test_the_agent_is_told_to_wrap_up_before_its_time_is_over(seeded: Server, api: httpx.Client):
    seeded.script(wait(100), tool("echo", output="on"), wait(3000), finish())
    task = dispatched(api, softFinishAfterSeconds=60, maxRuntimeSeconds=300)
    seeded.clock.advance(59.999)
    assert stored(seeded, "SELECT soft_told_at FROM runs") == [(None,)]
    seeded.clock.advance(600)
    told = stored(seeded, "SELECT soft_told_at FROM runs")
    assert [after(at).total_seconds() for (at,) in told] == [60]
    assert after(read(api, task)["completedAt"]).total_seconds() == 300


def test_a_task_that_sleeps_for_days_is_woken_on_the_second(seeded: Server, api: httpx.Client):
    seeded.script(hibernate(7 * 86_400), tool("date", output="later"), finish("Awake"))
    task = dispatched(api)
    assert read(api, task)["status"] == "hibernating"
    seeded.clock.advance(timedelta(days=7) - timedelta(milliseconds=1))
    assert read(api, task)["status"] == "hibernating"
    seeded.clock.advance("1ms")
    assert (read(api, task)["status"], read(api, task)["result"]) == ("finished", "Awake")
    assert updates(api, task) == [
        ("pending", 0),
        ("running", 0),
        ("hibernating", 0),
        ("pending", 604_800),
        ("running", 604_800),
        ("finished", 604_800),
    ]


def test_pauses_before_retries_end_on_the_second(seeded: Server, api: httpx.Client):
    seeded.script(finish("At last"))
    seeded.faults.provider(529, times=3)
    task = dispatched(api, model="claude-sonnet-4-5", provider="anthropic")
    assert read(api, task)["status"] == "running"
    seeded.clock.advance("10m")
    assert (read(api, task)["result"], after(read(api, task)["completedAt"]).total_seconds()) == ("At last", 2 + 4 + 8)


def test_a_pause_that_a_provider_asks_for_is_kept_by_all_who_call_it(seeded: Server, api: httpx.Client):
    seeded.script(finish("At last"))
    seeded.faults.provider(429, retry_after=30, instructions="first")
    tasks = [dispatched(api, words, model="claude-sonnet-4-5", provider="anthropic") for words in ("first", "other")]
    seeded.clock.advance("29999ms")
    assert {read(api, task)["status"] for task in tasks} == {"running"}
    seeded.clock.advance("10m")
    assert [after(read(api, task)["completedAt"]).total_seconds() for task in tasks] == [30, 30]


def test_a_session_expires_and_a_message_puts_that_off(seeded: Server, api: httpx.Client):
    seeded.script(say("Hello"))
    one, other = conversation(api, sessionTtlSeconds=600), conversation(api, sessionTtlSeconds=600)
    seeded.clock.advance("9m")
    api.post(f"/conversations/{other}/messages", json={"content": "Still here"}).raise_for_status()
    seeded.clock.advance("1d")
    assert [(read(api, task)["status"], after(read(api, task)["completedAt"])) for task in (one, other)] == [
        ("expired", timedelta(minutes=10)),
        ("expired", timedelta(minutes=19)),
    ]


def test_the_container_of_an_idle_conversation_ends(seeded: Server, api: httpx.Client):
    seeded.script(say("Hello"))
    conversation(api, sessionTtlSeconds=86_400)
    idle = seeded._running.host.settings.idle_seconds
    seeded.clock.advance(3 * idle)
    ended = stored(seeded, "SELECT ended_at FROM runs")
    assert [after(at).total_seconds() for (at,) in ended] == [idle]


def test_an_upload_expires(seeded: Server, api: httpx.Client):
    prepared = api.post("/uploads/prepare", json={"filename": "a.txt"}).json()
    left = datetime.fromisoformat(prepared["expiresAt"]) - seeded.clock.now()
    seeded.clock.advance(left - timedelta(milliseconds=1))
    assert httpx.put(prepared["uploadUrl"], content=b"bytes").status_code == 200
    seeded.clock.advance("1ms")
    assert httpx.put(prepared["uploadUrl"], content=b"bytes").status_code == 409
    seeded.clock.advance("1h1s")
    assert httpx.put(prepared["uploadUrl"], content=b"bytes").status_code == 404
    assert not [path for path in seeded._running.host.files.iterdir() if path.is_file()]


def test_a_key_expires_and_its_streams_end(seeded: Server, api: httpx.Client):
    seeded.script(wait(3000), finish())
    key = api.post("/keys", json={"name": "short", "expiresInSeconds": 600}).json()["key"]
    path, headers = f"/tasks/{dispatched(api)}/events?stream=true", {"authorization": f"Bearer {key}"}
    with api.stream("GET", path, headers=headers) as stream:
        seeded.clock.advance(599)
        assert api.get("/tasks", headers=headers).status_code == 200
        seeded.clock.advance(1)
        assert b"task.updated" in stream.read()
    assert api.get("/tasks", headers=headers).status_code == 401


def test_an_idempotency_key_is_forgotten_after_a_day(seeded: Server, api: httpx.Client):
    def again() -> str:
        body, headers = {"instructions": "Once"}, {"idempotency-key": "one"}
        answer = api.post(f"/agents/{CODING}/tasks", json={**body, "overrides": {"model": "scripted"}}, headers=headers)
        return answer.raise_for_status().json()["id"]

    first = again()
    seeded.clock.advance("24h")
    assert again() == first
    seeded.clock.advance("1s")
    assert again() != first


def test_a_budget_begins_anew_with_each_month(seeded: Server, api: httpx.Client):
    api.put("/account/budget", json={"maxTokens": 1_000_000}).raise_for_status()
    dispatched(api, "Spend")
    january = api.get("/account/budget").json()
    seeded.clock.advance("31d")
    february = api.get("/account/budget").json()
    assert (january["month"], february["month"]) == ("2026-01", "2026-02")
    assert january["usedTokens"] > 0 == february["usedTokens"]


def test_containers_cost_by_the_minute_of_the_clock():
    with server(seed=SEED, billing="prepaid", credit=10) as ac:
        ac.script(wait(600), finish())
        ac.client.create_task(CODING, instructions="Ten minutes", overrides={"model": "scripted"})
        ac.clock.advance("1h")
        assert ac.client.get_account().credit_balance == 10 - 10 * 0.05


def test_what_is_kept_of_a_task_goes_when_its_time_is_over():
    with server(seed=SEED, workspace_retention_seconds=3600, retention_days=30) as ac:
        ac.script(finish("Kept", files={"out.txt": b"bytes"}))
        task = ac.client.create_task(CODING, instructions="Work", overrides={"model": "scripted"}).id
        ac.clock.advance("59m59s")
        sql = "SELECT workspace_removed_at, swept_at FROM tasks"
        assert stored(ac, sql) == [(None, None)]
        ac.clock.advance("60d")
        ((removed_at, swept_at),) = stored(ac, sql)
        assert after(removed_at) == timedelta(hours=1)
        assert after(swept_at) == timedelta(days=30, milliseconds=1)
        assert ac.client.get_task(task).result == "Kept" and not list(ac.client.list_events(task))


def test_it_is_moved_over_http_too(seeded: Server, api: httpx.Client):
    seeded.script(wait(3000), finish())
    task = dispatched(api)
    for by, now in ((90, "2026-01-01T00:01:30.000Z"), ("PT58M30S", "2026-01-01T01:00:00.000Z")):
        answer = api.post(f"{seeded.url}/testing/clock/advance", json={"by": by})
        assert (answer.status_code, answer.json()) == (200, {"now": now})
    assert api.get(f"{seeded.url}/testing/clock").json() == {"now": now}
    assert read(api, task)["status"] == "finished"


@pytest.mark.parametrize("by", [-1, "", "tomorrow", "7 days", "P", "PT", "-1d", 1e12, True, None])
def test_what_is_no_duration_is_refused(seeded: Server, api: httpx.Client, by):
    with pytest.raises((ValueError, TypeError)):
        seeded.clock.advance(by)
    answer = api.post(f"{seeded.url}/testing/clock/advance", json={"by": by})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert seeded.clock.now() == BEGAN


def test_the_clock_has_an_end_and_goes_on_after_a_reset():
    with server() as ac:
        with pytest.raises(ValueError, match="9000"):
            for _ in range(80):  # centuries
                ac.clock.advance(100 * 365 * 86_400)
        answer = httpx.post(
            f"{ac.url}/testing/clock/advance", json={"by": "36500d"}, headers={"Authorization": f"Bearer {ac.key}"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
        ac.reset()
        assert ac.clock.advance("1d").year < 9000


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0, 0), (1.5, 1.5), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1w", 604_800), ("P7D", 604_800)]
    + [("P1DT2H3M4.5S", 93_784.5), ("pt1m", 60), (" 2d ", 172_800), (timedelta(minutes=1), 60)],
)
def test_durations_are_given_as_people_write_them(duration, expected):
    assert seconds(duration) == pytest.approx(expected)


# The same again


def story(ac: Server) -> bytes:
    """Everything that a client sees of a suite's work, without the server's address."""
    headers = {"authorization": f"Bearer {ac.key}"}
    with httpx.Client(base_url=f"{ac.url}/api/v1", headers=headers) as api:
        ac.script(tool("make", output="ok"), wait(20), finish("Slow", files={"a.txt": b"a"}), instructions="slow")
        ac.script(hibernate(3600), finish("Slept"), instructions="sleep")
        seen = [api.post("/keys", json={"name": "second"}).content]
        upload = api.post("/uploads/prepare", json={"filename": "in.txt"})
        seen += [upload.content, httpx.put(upload.json()["uploadUrl"], content=b"input").content]
        seen.append(api.post("/uploads/complete", json={"uploadId": upload.json()["uploadId"]}).content)
        tasks = [dispatched(api, words) for words in ("slow", "sleep", "slow again", "```bash\necho hello\n```")]
        tasks.append(conversation(api))
        for _ in range(2):
            ac.clock.advance("31m")
            for task in tasks:
                seen += [api.get(f"/tasks/{task}{part}").content for part in ("", "/files", "/model-calls")]
        api.post(f"/conversations/{tasks[-1]}/messages", json={"content": "More"})
        ac.clock.advance("1d")
        for task in tasks:
            for part in ("events?limit=1000", "messages", "activities"):
                seen.append(api.get(f"/tasks/{task}/{part}").content)
            with api.stream("GET", f"/tasks/{task}/events?stream=true") as stream:
                seen.append(stream.read())
        seen += [api.get(path).content for path in ("/tasks", "/agents", "/files", "/account", "/keys")]
    return b"\n".join(seen).replace(ac.url.encode(), b"")


def test_the_same_seed_and_the_same_requests_give_the_same_bytes():
    with server(seed=7) as one, server(seed=7) as two, server(seed=8) as other:
        first = story(one)
        assert story(two) == first
        assert story(other) != first
        one.reset()
        assert story(one) == first
        assert one.key == two.key != other.key
    assert b'"expired"' in first and b"Slept" in first and b"2026-01-01T00:00:20.000Z" in first


MOVES = st.lists(st.integers(0, 4000), min_size=1, max_size=4)


@examples(max_examples=8)
@given(MOVES)
def test_two_moves_are_one(shared_seeded: Server, moves: list[int]):
    """What happens depends on the time that has passed, and not on the steps in which it did."""
    histories = []
    for steps in ([sum(moves)], moves):
        shared_seeded.reset()
        headers = {"authorization": f"Bearer {shared_seeded.key}"}
        with httpx.Client(base_url=f"{shared_seeded.url}/api/v1", headers=headers) as api:
            shared_seeded.script(wait(500), tool("make", output="ok"), hibernate(1000), wait(700), finish())
            shared_seeded.script(say("Hello"), instructions="Hello")
            tasks = [dispatched(api, maxRuntimeSeconds=1100), dispatched(api), conversation(api, sessionTtlSeconds=900)]
            for step in steps:
                shared_seeded.clock.advance(step)
            histories.append([read(api, task) | {"updates": updates(api, task)} for task in tasks])
    assert json.dumps(histories[0]) == json.dumps(histories[1])


def test_a_seed_is_for_simulated_runs():
    with pytest.raises(ValueError, match="simulated"):
        server("podman", seed=1)
