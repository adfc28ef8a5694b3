"""The server in the machine, as a client on this one sees it."""

import contextlib
import time
from collections.abc import Callable, Iterator

import httpx

from agentcontainer_local.sandbox.podman import standard_images
from tests.vm.machine import Failed, Machine

KEY = "ac_live_" + "v" * 32

ENDED = ("finished", "failed", "cancelled", "expired")
SECONDS = 420  # what a task may take: Pi alone needs half a minute to start without KVM


def blocks(*commands: str, finish: str | None = None) -> str:
    """Instructions for the scripted model."""
    text = "".join(f"```bash\n{command}\n```\n" for command in commands)
    return text + (f"```finish\n{finish}\n```" if finish else "")


SLEEP = blocks("hibernate --for 2d --message Later", finish="--complete-task --message Woken")


class Api:
    def __init__(self, url: str, key: str):
        self.client = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False
        )
        self.url, self.agent = url, ""

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        answer = self.client.request(method, path, json=body)
        if not answer.is_success:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def is_ready(self) -> bool:
        return self.readyz() == ""

    def readyz(self) -> str:
        """Why the server is not ready; empty when it is."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=20, trust_env=False)
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
        return "" if answer.status_code == 200 else answer.text

    def make_agent(self, image: str) -> str:
        """The id of an agent in an image that was loaded, whose model is the scripted one."""
        body = {
            "name": "vm",
            "basePrompt": "Do it.",
            "runtime": {"containerImage": image, "agentRuntime": "pi"},
            "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 3600},
        }
        return self.call("POST", "/agents", body)["id"]

    def dispatch(self, instructions: str, **overrides) -> str:
        body = {"instructions": instructions, "overrides": {"maxRuntimeSeconds": 3600, **overrides}}
        return self.call("POST", f"/agents/{self.agent}/tasks", body)["id"]

    def converse(self, message: str, **body) -> str:
        body = {"instructions": "You help.", "message": message, **body}
        return self.call("POST", f"/agents/{self.agent}/conversations", body)["task"]["id"]

    def task(self, id: str) -> dict:
        return self.call("GET", f"/tasks/{id}")

    def wait(self, id: str, *statuses: str, seconds: float = SECONDS) -> dict:
        deadline = time.monotonic() + seconds
        while True:
            task = self.task(id)
            if task["status"] in (statuses or ENDED):
                return task
            if task["status"] in ENDED or time.monotonic() > deadline:
                raise Failed(f"the task is {task['status']} and not {' or '.join(statuses or ENDED)}: {task['error']}")
            time.sleep(2)

    def finished(self, id: str) -> dict:
        task = self.wait(id)
        if task["status"] != "finished":
            raise Failed(f"the task is {task['status']}: {task['error']}")
        return task

    def events(self, id: str) -> list[dict]:
        return self.call("GET", f"/tasks/{id}/events?order=asc&limit=1000")["data"]

    def said(self, id: str) -> str:
        """What the task's commands printed."""
        return "".join(
            event["data"].get("output") or "" for event in self.events(id) if event["event"] == "activity.completed"
        )

    def steps(self, id: str) -> int:
        return sum(event["event"] == "activity.completed" for event in self.events(id))

    def file(self, id: str, name: str) -> str:
        listed = self.call("GET", f"/tasks/{id}/files")["data"]
        found = next((file for file in listed if file["filename"] == name), None)
        if found is None:
            raise Failed(f"the task handed over no {name}")
        return self.client.get(f"/tasks/{id}/files/{found['id']}").text


@contextlib.contextmanager
def served(vm: Machine, port: int, agent: str | None = None) -> Iterator[Api]:
    """A client of what serves on that port, with an agent of the image that was loaded."""
    with vm.forwarded(port) as url:
        api = Api(url, KEY)
        until("the server is ready", api.is_ready, 300)
        api.agent = agent or api.make_agent(standard_images.made_base())
        yield api


def until(what: str, happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(2)
