"""What is compared of a task that ran at both depths: all that a client sees of it, without what differs every time."""

import re
from typing import Any

import httpx

WARNING = re.compile(r" Warning: No project session.*")  # which the real Pi writes to stderr at its start
VOLATILE = {"id", "at", "createdAt", "updatedAt", "startedAt", "completedAt", "durationMs", "callId", "sequence"}
TIMES = re.compile(r"after \d+\.\d s|\d{4}-\d\d-\d\dT[\d:.]+Z|tsk_\w+|fil_\w+|act_\w+|msg_\w+")


def seen(url: str, key: str, task_id: str) -> dict[str, Any]:
    """The task's end, its events in order, and its files with their content."""
    with httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {key}"}) as client:
        task = _got(client, f"/tasks/{task_id}")
        events = _got(client, f"/tasks/{task_id}/events", order="asc", limit=1000)["data"]
        files = _got(client, f"/tasks/{task_id}/files")["data"]
        contents = {
            file["filename"]: (file["outputName"], client.get(f"/tasks/{task_id}/files/{file['id']}").content)
            for file in files
        }
    fields = ("status", "result", "error", "metadata", "turnNumber", "turnStatus")
    return {
        **{name: _plain(task[name]) for name in fields},
        "events": [(event["event"], _plain(event["data"])) for event in events],
        "files": contents,
    }


def _got(client: httpx.Client, path: str, **query: Any) -> Any:
    return client.get(path, params=query).raise_for_status().json()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in VOLATILE}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return TIMES.sub("…", WARNING.sub("", value)) if isinstance(value, str) else value
