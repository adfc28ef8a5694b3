"""The published reference, operation by operation and status by status, against a server on a port.

What is expected is transcribed from the reference's own text (its 28 operations, their answers' examples), and from the
later pages where they add to it; nothing of it comes from the program. `NULL` marks what later pages call nullable.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import files, tasks
from tests.conftest import KEY
from tests.live import Live

NULL = type(None)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NUMBER = (int, float)
POLICY = {"mode": {"any", "none", "at_least_one", "named"}}
PAGE = {"pageInfo": {"hasMore": bool, "nextCursor": (str, NULL)}}

ACCOUNT = {
    "id": str,
    "name": (str, NULL),
    "email": (str, NULL),
    "creditBalance": NUMBER,
    "createdAt": TIME,
    "billingMode": {"standard", "unlimited_grant"},
    "fileStorage": {"usedBytes": int, "quotaBytes": (int, NULL), "isEnforced": bool},
    "checkpointStorage": {"usedBytes": int, "quotaBytes": (int, NULL), "isEnforced": bool},
}
CONTAINER_VERSION = {
    "id": str,
    "number": int,
    "containerPreset": (str, NULL),
    "containerImage": (str, NULL),
    "containerContractVersion": str,
    "createdAt": TIME,
}
CONTAINER = {
    "id": str,
    "name": str,
    "description": str,
    "isStandard": bool,
    "archivedAt": (TIME, NULL),
    "currentVersion": CONTAINER_VERSION,
    "createdAt": TIME,
}
AGENT_VERSION = {
    "id": str,
    "number": int,
    "containerVersionId": str,
    "basePrompt": str,
    "defaults": {
        "provider": ({"anthropic", "openrouter", "openai"}, NULL),
        "hasProviderApiKey": bool,
        "model": str,
        "internetAccess": bool,
        "maxRuntimeSeconds": int,
        "outputPolicy": POLICY,
        "runtimeRegion": {"any", "eu"},
        "weakModel": (str, NULL),
        "softFinishAfterSeconds": (int, NULL),
    },
    "skills": [{"skill": str}],
    "createdAt": TIME,
}
AGENT = {
    "id": str,
    "name": str,
    "description": str,
    "isStandard": bool,
    "archivedAt": (TIME, NULL),
    "currentVersion": AGENT_VERSION,
    "createdAt": TIME,
}
FILE = {"id": str, "filename": str, "contentType": str, "sizeBytes": int, "createdAt": TIME}
TASK = {
    "id": str,
    "agentId": str,
    "agentVersionId": str,
    "containerVersionId": str,
    "status": {"pending", "running", "awaiting_input", "hibernating", "finished", "failed", "cancelled", "expired"},
    "description": str,
    "runtimeRegion": {"any", "eu"},
    "overrides": dict,
    "metadata": dict,
    "createdAt": TIME,
    "startedAt": (TIME, NULL),
    "completedAt": (TIME, NULL),
    "result": (str, NULL),
    "error": (str, NULL),
    "costUsd": NUMBER,
    "containerMinutes": NUMBER,
    "tokenUsage": dict,
    "mode": {"autonomous", "conversation"},
    "agentName": str,
    "title": str,
    "instructions": str,
    "execution": {"provider": str, "model": str, "weakModel": (str, NULL)},
    "turnStatus": (str, NULL),
    "turnNumber": (int, NULL),
    "sessionTtlSeconds": (int, NULL),
    "hibernateUntilAt": (TIME, NULL),
}
PREPARED = {"uploadId": str, "uploadUrl": str, "method": {"PUT", "POST"}, "headers": dict, "expiresAt": TIME}
ERROR = {"error": {"code": str, "message": str}}
UNAUTHORIZED = {"error": {"code": "unauthorized", "message": "Invalid or missing API key."}}

NEW_CONTAINER = {"name": "c", "containerImage": "debian:12"}
NEW_AGENT = {
    "name": "a",
    "containerId": "ctr_standard_data",
    "basePrompt": "p",
    "defaults": {
        "provider": "anthropic",
        "providerApiKey": "sk-ant-1",
        "model": "claude-sonnet-4-5",
        "internetAccess": False,
        "maxRuntimeSeconds": 600,
        "outputPolicy": {"mode": "any"},
        "runtimeRegion": "eu",
    },
}
NEW_TASK = {
    "description": "d",
    "inputFileIds": ["{file}"],
    "metadata": {"a": 1},
    "overrides": {
        "provider": "anthropic",
        "providerApiKey": "sk-ant-2",
        "model": "claude-sonnet-4.6",
        "internetAccess": False,
        "maxRuntimeSeconds": 60,
        "runtimeRegion": "any",
        "outputPolicy": {"mode": "named", "files": [{"name": "report", "description": "r"}]},
    },
}


@dataclass(frozen=True)
class Operation:
    """`{name}` in path and body is what the world below made; each status is with its shape."""

    verb: str
    path: str
    success: int
    shape: object = None
    body: dict | None = None
    bad: dict | None = None  # a body that is answered 422
    missing: str | None = None  # a path that is answered 404
    errors: tuple[int, ...] = field(default=())

    @property
    def statuses(self) -> tuple[int, ...]:
        return self.success, *self.errors


NAMELESS = {"name": 5}
OPERATIONS = [
    Operation("GET", "/account", 200, ACCOUNT, errors=(401,)),
    Operation("GET", "/containers", 200, {"data": [CONTAINER], **PAGE}, errors=(401,)),
    Operation("POST", "/containers", 201, CONTAINER, NEW_CONTAINER, NAMELESS, errors=(401, 422)),
    Operation("GET", "/containers/{container}", 200, CONTAINER, missing="/containers/ctr_no", errors=(401, 404)),
    Operation(
        "PATCH",
        "/containers/{container}",
        200,
        CONTAINER,
        {"containerImage": "debian:13"},
        NAMELESS,
        "/containers/ctr_no",
        (401, 404, 422),
    ),
    Operation("DELETE", "/containers/{spare_container}", 204, missing="/containers/ctr_no", errors=(401, 404)),
    Operation(
        "POST",
        "/containers/ctr_standard_coding/fork",
        201,
        CONTAINER,
        {"name": "mine"},
        missing="/containers/ctr_no/fork",
        errors=(401, 404),
    ),
    Operation(
        "GET",
        "/containers/{container}/versions",
        200,
        {"data": [CONTAINER_VERSION], **PAGE},
        missing="/containers/ctr_no/versions",
        errors=(401, 404),
    ),
    Operation(
        "GET",
        "/containers/{container}/versions/{container_version}",
        200,
        CONTAINER_VERSION,
        missing="/containers/{container}/versions/ctrv_no",
        errors=(401, 404),
    ),
    Operation("GET", "/agents", 200, {"data": [AGENT], **PAGE}, errors=(401,)),
    Operation("POST", "/agents", 201, AGENT, NEW_AGENT, NAMELESS, errors=(401, 422)),
    Operation("GET", "/agents/{agent}", 200, AGENT, missing="/agents/agt_no", errors=(401, 404)),
    Operation("PATCH", "/agents/{agent}", 200, AGENT, {"basePrompt": "q"}, NAMELESS, "/agents/agt_no", (401, 404, 422)),
    Operation("DELETE", "/agents/{spare_agent}", 204, missing="/agents/agt_no", errors=(401, 404)),
    Operation(
        "POST", "/agents/agt_standard_coding/fork", 201, AGENT, {}, missing="/agents/agt_no/fork", errors=(401, 404)
    ),
    Operation(
        "GET",
        "/agents/{agent}/versions",
        200,
        {"data": [AGENT_VERSION], **PAGE},
        missing="/agents/agt_no/versions",
        errors=(401, 404),
    ),
    Operation(
        "GET",
        "/agents/{agent}/versions/{agent_version}",
        200,
        AGENT_VERSION,
        missing="/agents/{agent}/versions/agtv_no",
        errors=(401, 404),
    ),
    Operation(
        "POST", "/uploads/prepare", 201, PREPARED, {"filename": "a.csv", "contentType": "text/csv"}, errors=(401,)
    ),
    Operation(
        "POST", "/uploads/complete", 201, FILE, {"uploadId": "{upload}", "storageId": "{storage}"}, errors=(401,)
    ),
    Operation(
        "GET",
        "/agents/{agent}/reference-files",
        200,
        {"data": [FILE], **PAGE},
        missing="/agents/agt_no/reference-files",
        errors=(401, 404),
    ),
    Operation(
        "POST",
        "/agents/{agent}/reference-files",
        200,
        AGENT,
        {"fileIds": ["{file}"]},
        {"fileIds": ["no"]},
        "/agents/agt_no/reference-files",
        (401, 404, 422),
    ),
    Operation(
        "GET",
        "/agents/agt_standard_data/tasks",
        200,
        {"data": [TASK], **PAGE},
        missing="/agents/agt_no/tasks",
        errors=(401, 404),
    ),
    Operation("GET", "/agents/agt_standard_data/tasks?status=finished", 200, {"data": [TASK], **PAGE}),
    Operation(
        "POST",
        "/agents/{agent}/tasks",
        201,
        TASK,
        NEW_TASK,
        {"description": "d", "versionId": "agtv_no"},
        "/agents/agt_no/tasks",
        (401, 404, 422),
    ),
    Operation("GET", "/tasks/{task}", 200, TASK, missing="/tasks/tsk_no", errors=(401, 404)),
    Operation("POST", "/tasks/{waiting_task}/cancel", 200, TASK, missing="/tasks/tsk_no/cancel", errors=(401, 404)),
    Operation(
        "GET",
        "/tasks/{task}/files",
        200,
        {"data": [{**FILE, "outputName": (str, NULL)}], **PAGE},
        missing="/tasks/tsk_no/files",
        errors=(401, 404),
    ),
    Operation(
        "GET", "/tasks/{task}/files/{output}", 200, b"out", missing="/tasks/{task}/files/file_no", errors=(401, 404)
    ),
    Operation("GET", "/openapi.yaml", 200),
]
CASES = [(operation, status) for operation in OPERATIONS for status in operation.statuses]


def assert_fits(value, shape, where: str = "") -> None:
    """Every field that the reference shows is there, in its type; more fields are no fault."""
    if isinstance(shape, tuple):
        failures = []
        for choice in shape:
            try:
                return assert_fits(value, choice, where)
            except AssertionError as failure:
                failures.append(str(failure))
        raise AssertionError("; ".join(failures))
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert not shape.keys() - value.keys(), f"{where} has no {sorted(shape.keys() - value.keys())}"
        for name in shape:
            assert_fits(value[name], shape[name], f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for position, item in enumerate(value):
            assert_fits(item, shape[0], f"{where}[{position}]")
    elif isinstance(shape, set):
        assert value in shape, f"{where} is {value!r}"
    elif isinstance(shape, re.Pattern):
        assert isinstance(value, str) and shape.fullmatch(value), f"{where} is {value!r}"
    else:
        assert isinstance(value, shape) and (shape is bool or not isinstance(value, bool)), f"{where} is {value!r}"
    return None


def test_the_table_has_the_references_28_operations():
    paths = {
        (operation.verb, re.sub(r"\{\w+\}|(agt|ctr)_standard_\w+", "{}", operation.path.partition("?")[0]))
        for operation in OPERATIONS
    }
    assert len(paths) == 28


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("contract")) as live:
        yield live


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=f"{live.url}/api/v1", headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def world(live: Live, client: httpx.Client) -> dict[str, str]:
    """What the paths name, made as a client makes it; the work of an agent is done by hand."""

    def made(path: str, body: dict) -> dict:
        answer = client.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def upload() -> tuple[str, str]:
        prepared = made("/uploads/prepare", {"filename": "a.txt"})
        return prepared["uploadId"], client.post(prepared["uploadUrl"], content=b"abc").json()["storageId"]

    container, agent, (upload_id, storage_id) = made("/containers", NEW_CONTAINER), made("/agents", NEW_AGENT), upload()
    first_id, _ = upload()
    reference = made("/uploads/complete", {"uploadId": upload()[0]})
    made(f"/agents/{agent['id']}/reference-files", {"fileIds": [reference["id"]]})
    scripted = {"instructions": "i", "overrides": {"model": "scripted"}}
    task, waiting = (made("/agents/agt_standard_data/tasks", scripted) for _ in range(2))
    return {
        "container": container["id"],
        "container_version": container["currentVersion"]["id"],
        "spare_container": made("/containers", NEW_CONTAINER)["id"],
        "spare_agent": made("/agents", NEW_AGENT)["id"],
        "agent": agent["id"],
        "agent_version": agent["currentVersion"]["id"],
        "upload": upload_id,
        "storage": storage_id,
        "file": made("/uploads/complete", {"uploadId": first_id})["id"],
        "task": task["id"],
        "waiting_task": waiting["id"],
        "output": live.do(lambda host: finished(host, task["id"])),
    }


def finished(host: Host, task_id: str) -> str:
    """The task's agent has handed over a file."""
    tasks.apply(host.db, task_id, "started", host.now())
    files.path(host.files, "file_out").parent.mkdir(parents=True, exist_ok=True)
    files.path(host.files, "file_out").write_bytes(b"out")
    account_id = tasks.get(host.db, task_id)["account_id"]
    file = files.add(
        host.db, account_id, "out.md", "text/markdown", "file_out", 3, hashlib.sha256(b"out").hexdigest(), host.now()
    )
    host.db.conn.execute("INSERT INTO task_outputs (task_id, file_id) VALUES (?, ?)", (task_id, file["id"]))
    tasks.apply(host.db, task_id, "finished", host.now(), result="Done", completion="complete")
    return file["id"]


def filled(value, world: dict[str, str]):
    if isinstance(value, dict):
        return {name: filled(inner, world) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, world) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: world[found[1]], value)
    return value


def name_of(case) -> str | None:
    return f"{case.verb} {case.path}" if isinstance(case, Operation) else None


@pytest.mark.parametrize(("operation", "status"), CASES, ids=name_of)
def test_the_reference_holds(client: httpx.Client, world: dict[str, str], operation: Operation, status: int):
    ask: Callable[..., httpx.Response] = client.request
    path, body = filled(operation.path, world), filled(operation.body, world)
    if status == 401:
        answer = ask(operation.verb, path, json=body, headers={"Authorization": "Bearer ac_live_wrong"})
        assert answer.json() == UNAUTHORIZED
    elif status == 404:
        answer = ask(operation.verb, filled(operation.missing, world), json=body)
        assert_fits(answer.json(), ERROR)
    elif status == 422:
        answer = ask(operation.verb, path, json=operation.bad)
        assert_fits(answer.json(), ERROR)
    else:
        answer = ask(operation.verb, path, json=body)
    assert answer.status_code == status, answer.text
    if status == operation.success:
        assert_answer(answer, operation)


def assert_answer(answer: httpx.Response, operation: Operation) -> None:
    if operation.success == 204:
        assert answer.content == b""
    elif operation.shape is None:
        assert answer.headers["content-type"].startswith("application/yaml")
        assert answer.text.startswith("openapi: 3.1")
    elif isinstance(operation.shape, bytes):
        assert answer.content == operation.shape
        assert answer.headers["content-type"] == "application/octet-stream"
    else:
        assert_fits(answer.json(), operation.shape)
        assert "sk-ant" not in answer.text
        assert answer.json().get("data") != [], "a list has something to look at"


def test_the_document_needs_no_key(live: Live):
    assert httpx.get(f"{live.url}/api/v1/openapi.yaml", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "status", ["pending", "running", "finished", "failed", "cancelled", "awaiting_input", "hibernating", "expired"]
)
def test_tasks_are_listed_by_each_status(client: httpx.Client, world, status: str):
    listed = client.get("/agents/agt_standard_data/tasks", params={"status": status}).json()
    assert {task["status"] for task in listed["data"]} <= {status}


def test_the_two_steps_of_the_guide_make_a_file_and_a_task(client: httpx.Client):
    prepared = client.post("/uploads/prepare", json={"filename": "sales_data.csv", "contentType": "text/csv"}).json()
    sent = client.request(prepared["method"], prepared["uploadUrl"], content=b"1,2", headers=prepared["headers"])
    assert sent.is_success
    file_id = client.post("/uploads/complete", json={"uploadId": prepared["uploadId"]}).json()["fileId"]
    body = {
        "instructions": "Generate a detailed financial model from the uploaded spreadsheet.",
        "inputFileIds": [file_id],
        "overrides": {
            "provider": "anthropic",
            "providerApiKey": "sk-ant-...",
            "runtime": "pi",
            "model": "claude-sonnet-4.6",
            "weakModel": "claude-3-5-haiku-latest",
            "internetAccess": False,
            "maxRuntimeSeconds": 1800,
            "softFinishAfterSeconds": 1500,
            "runtimeRegion": "eu",
            "outputPolicy": {"mode": "at_least_one"},
        },
    }
    task = client.post("/agents/agt_standard_coding/tasks", json=body)
    assert task.status_code == 201
    assert_fits(task.json(), TASK)
    assert task.json()["execution"] == {
        "provider": "anthropic",
        "model": "claude-sonnet-4.6",
        "weakModel": "claude-3-5-haiku-latest",
    }


@pytest.mark.parametrize("runtime", ["codex", "", None, {"containerImage": "x"}])
def test_another_runtime_than_pi_is_refused(client: httpx.Client, runtime):
    body = {"instructions": "i", "overrides": {"model": "scripted", "runtime": runtime}}
    answer = client.post("/agents/agt_standard_coding/tasks", json=body)
    assert answer.status_code == (201 if runtime is None else 422)
