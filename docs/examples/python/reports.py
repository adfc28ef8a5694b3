"""Sales reports, written by an agent: a small application that uses the AgentContainer API through httpx."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

AGENT = "agt_standard_data"
MODEL = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
ENDED = {"finished", "failed", "cancelled", "expired"}
INSTRUCTIONS = "Summarise the sales in task_files/sales.csv. Hand over report.md, with a table of each region's total."
ATTEMPTS = 4


class ReportFailed(Exception):
    """No report came. The message is for the person who asked for it."""


class TooExpensive(ReportFailed):
    """The report would have cost more than it may."""


@dataclass(frozen=True)
class Report:
    summary: str
    text: str
    complete: bool


class Reports:
    """`pause`: seconds between two looks at a task, and before a request is repeated."""

    def __init__(self, url: str, key: str, pause: float = 1.0):
        self._pause = pause
        self._http = httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {key}"}, timeout=30)

    def close(self) -> None:
        self._http.close()

    def make(self, sales: bytes, max_cost_usd: float = 0.50) -> Report:
        """Waits until the report is there. Raises ReportFailed."""
        return self.fetch(self.order(sales, max_cost_usd))

    def order(self, sales: bytes, max_cost_usd: float = 0.50) -> str:
        """The id of the task that writes the report."""
        body = {
            "instructions": INSTRUCTIONS,
            "inputFileIds": [self._upload("sales.csv", sales)],
            "overrides": {**MODEL, "maxCostUsd": max_cost_usd, "outputPolicy": {"mode": "at_least_one"}},
        }
        return self._call("POST", f"/agents/{AGENT}/tasks", json=body).json()["id"]

    def fetch(self, task_id: str) -> Report:
        """The report of a task, once it has ended. Raises ReportFailed."""
        task = self._until(task_id, ENDED)
        if task["status"] != "finished":
            reason = task["error"] or f"The task was {task['status']}."
            raise (TooExpensive if "budget" in reason else ReportFailed)(reason)
        [file] = self._call("GET", f"/tasks/{task_id}/files").json()["data"]
        text = self._call("GET", f"/tasks/{task_id}/files/{file['id']}").text
        return Report(task["result"], text, task["metadata"]["completion"] == "complete")

    def cancel(self, task_id: str) -> None:
        self._call("POST", f"/tasks/{task_id}/cancel")

    def _upload(self, name: str, content: bytes) -> str:
        prepared = self._call("POST", "/uploads/prepare", json={"filename": name, "contentType": "text/csv"}).json()
        self._call("PUT", prepared["uploadUrl"], content=content)
        completed = self._call("POST", "/uploads/complete", json={"uploadId": prepared["uploadId"]})
        return completed.json()["fileId"]

    def _until(self, task_id: str, statuses: set[str]) -> dict[str, Any]:
        while True:
            task = self._call("GET", f"/tasks/{task_id}").json()
            if task["status"] in statuses:
                return task
            time.sleep(self._pause)

    def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Repeats what failed on the way or in the server. A POST is done once, thanks to its Idempotency-Key."""
        headers = {"idempotency-key": str(uuid.uuid4())} if method == "POST" else {}
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                response = self._http.request(method, path, headers=headers, **more)
            except httpx.TransportError:
                if last:
                    raise
            else:
                if last or response.status_code < 500:
                    return response.raise_for_status()
            time.sleep(self._pause * attempt)
        raise AssertionError("the last attempt returns or raises")


class Questions:
    """A conversation about one report. It begins anew when the last message is more than seven days old."""

    def __init__(self, reports: Reports, report: str):
        self._reports = reports
        self._report = report
        self._task_id: str | None = None

    def ask(self, question: str) -> str:
        if self._task_id is None or self._status() in ENDED:
            begun = self._post(
                f"/agents/{AGENT}/conversations",
                {
                    "instructions": f"Answer questions about this report:\n{self._report}",
                    "message": question,
                    "overrides": MODEL,
                },
            )
            self._task_id = begun["task"]["id"]
        else:
            self._post(f"/conversations/{self._task_id}/messages", {"content": question})
        return self._answer()

    def _answer(self) -> str:
        task = self._reports._until(self._task_id, {"awaiting_input"} | ENDED)
        if task["turnStatus"] != "completed":
            raise ReportFailed(task["error"] or "There is no answer.")
        messages = self._reports._call("GET", f"/conversations/{self._task_id}/messages").json()["data"]
        return next(message["content"] for message in messages if message["role"] == "assistant")

    def _status(self) -> str:
        return self._reports._call("GET", f"/tasks/{self._task_id}").json()["status"]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._reports._call("POST", path, json=body).json()
