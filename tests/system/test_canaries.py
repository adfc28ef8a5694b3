"""Thirty secrets are put where secrets live; a hostile agent looks at everything it can, and so do we on the host."""

import base64
import json
import secrets
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests import fake_provider
from tests.fake_provider import Fails, bash
from tests.system import test_main_job as scripted
from tests.system.conftest import Server, podman, serving

pytestmark = pytest.mark.podman

# Where a secret may be, and nowhere else. What a user gives as content is the user's own: it is kept as it is, and
# answered to whoever has a key of the account.
NOWHERE = frozenset()
FILE = frozenset({"files"})
CONTENT = frozenset({"database", "api", "stream"})
CANARIES = {
    # keys of providers
    "ANTHROPIC_API_KEY": NOWHERE,
    "OPENAI_API_KEY": NOWHERE,
    "OPENROUTER_API_KEY": NOWHERE,
    "set for openai": NOWHERE,
    "set for openrouter": NOWHERE,
    "agent's for anthropic": NOWHERE,
    "agent's for openai": NOWHERE,
    "agent's for openrouter": NOWHERE,
    "agent's, replaced": NOWHERE,
    "task's for anthropic": NOWHERE,
    "task's for openai": NOWHERE,
    "message's": NOWHERE,
    # the server's environment
    "DATABASE_PASSWORD": NOWHERE,
    "AWS_SECRET_ACCESS_KEY": NOWHERE,
    "GITHUB_TOKEN": NOWHERE,
    "http_proxy": NOWHERE,
    "a file beside the data": NOWHERE,
    # another task's, another agent's
    "instructions": CONTENT,
    "title": CONTENT,
    "metadata": CONTENT,
    "message": CONTENT,
    "base prompt": CONTENT,
    "input file": FILE,
    "reference file": FILE,
    "output file": FILE,
    "input's name": CONTENT,
}
# Those that the server makes: its API keys (at start, by request, revoked), secret.key, a signed upload URL.
MADE = {
    "first API key": NOWHERE,
    "second API key": NOWHERE,
    "revoked API key": NOWHERE,
    "secret.key": NOWHERE,
    "upload signature": NOWHERE,
}


class World:
    """A server in which all of it happened, and what could be seen from inside and from outside."""

    def __init__(self, server: Server, fake: fake_provider.FakeProvider, canaries: dict[str, str]):
        self.server, self.fake, self.canaries = server, fake, canaries
        self.made: dict[str, bytes] = {}
        self.stores: dict[str, bytes] = {}
        self.podman = ""

    def make(self) -> None:
        server, said = self.server, self.canaries
        self.made["first API key"] = server.key.encode()
        keys = [server.post("/keys", {"name": f"key {n}"}) for n in range(2)]
        self.made["second API key"], self.made["revoked API key"] = (key["key"].encode() for key in keys)
        server.client.delete(f"/api/v1/keys/{keys[1]['id']}").raise_for_status()
        for provider in ("openai", "openrouter"):
            body = {"apiKey": said[f"set for {provider}"]}
            server.client.put(f"/api/v1/providers/{provider}", json=body).raise_for_status()
        prepared = server.post("/uploads/prepare", {"filename": "never-sent.txt"})
        self.made["upload signature"] = parse_qs(urlsplit(prepared["uploadUrl"]).query)["signature"][0].encode()
        self.made["secret.key"] = (server.data / "secret.key").read_bytes().strip()
        agents = {name: self.agent(name, said[f"agent's for {name}"]) for name in ("anthropic", "openai", "openrouter")}
        defaults = {"providerApiKey": said["agent's, replaced"]}
        server.client.patch(f"/api/v1/agents/{agents['openai']}", json={"defaults": defaults}).raise_for_status()
        reference = server.upload("reference.txt", said["reference file"].encode())
        server.post(f"/agents/{agents['anthropic']}/reference-files", {"fileIds": [reference]}, expect=200)
        self.input = server.upload(said["input's name"] + ".txt", said["input file"].encode())
        self.second = server.upload("second.txt", said["output file"].encode())
        self.victims(agents)

    def agent(self, provider: str, key: str) -> str:
        return self.server.post(
            "/agents",
            {
                "name": provider,
                "basePrompt": f"Work. {self.canaries['base prompt']}",
                "defaults": {
                    "model": "scripted",
                    "internetAccess": False,
                    "maxRuntimeSeconds": 100,
                    "provider": provider,
                    "providerApiKey": key,
                },
            },
        )["id"]

    def victims(self, agents: dict[str, str]) -> None:
        """One task that has ended, and a conversation whose container is there while the hostile agent looks."""
        server, said = self.server, self.canaries
        body = {
            "instructions": said["instructions"]
            + scripted.bash("cp task_files/second.txt out.txt", finish="--complete-task --message Done out.txt"),
            "title": said["title"],
            "metadata": {"ticket": said["metadata"]},
            "inputFileIds": [self.input, self.second],
            "overrides": {"providerApiKey": said["task's for openai"]},
        }
        ended = server.wait(server.post(f"/agents/{agents['openai']}/tasks", body)["id"])
        assert ended["status"] == "finished", ended["error"]
        talk = server.post(
            f"/agents/{agents['anthropic']}/conversations",
            {"instructions": "Talk.", "message": "Hello", "inputFileIds": [self.input]},
        )
        self.talk = talk["task"]["id"]
        server.wait(self.talk, "awaiting_input")
        server.post(
            f"/conversations/{self.talk}/messages",
            {
                "content": said["message"] + scripted.bash("cp task_files/* a; attach a"),
                "overrides": {"providerApiKey": said["message's"]},
            },
        )
        server.wait(self.talk, "awaiting_input")

    def look(self) -> None:
        """The hostile agent's turn; its own key is one of the secrets, and its provider echoes it."""
        server, key = self.server, self.canaries["task's for anthropic"]
        files = [
            server.upload("look.py", Path(__file__).with_name("look.py").read_bytes()),
            server.upload("bait.txt", self.canaries["bait"].encode()),
        ]
        paths = [
            f"/guest/inputs/{self.input}",
            f"/guest/inputs/..%2f{self.input}",
            "/guest/commands",
            "/guest/hibernate",
            "/guest/outputs",
            "/api/v1/keys",
            "/api/v1/providers",
            "/openapi.yaml",
            "/../secret.key",
            "/",
        ]
        self.fake.plan(
            bash(f"python3 task_files/look.py {' '.join(paths)}", timeout=100),
            Fails(400, f"no: your key {key} in {{'x-api-key': '{key}'}}", (("request-id", key), ("x-echo", key))),
            Fails(401, f"wrong key {key}", (("x-request-id", key),)),
            bash('finish --complete-task --message "Done" loot found.json counts.json'),
        )
        overrides = {"provider": "anthropic", "model": "claude-sonnet-4-5", "providerApiKey": key}
        task = server.dispatch("Look around", files=files, **overrides)
        server.wait(task["id"], "running")
        names = sorted(name for name in server.things() if not name.endswith(("-work", "-state")))
        self.podman = podman("inspect", *names) + "".join(podman("logs", name) for name in names)
        launch = next(
            Path(bind["Source"])
            for row in json.loads(podman("inspect", *names))
            for bind in row["Mounts"]
            if bind["Destination"] == "/run/agentcontainer" and task["id"] in bind["Source"]
        )
        self.stores["launch.json"] = (launch / "launch.json").read_bytes()
        self.ended = server.wait(task["id"])
        assert self.ended["status"] == "finished", self.ended["error"]
        self.outputs = server.outputs(task["id"])

    def search(self) -> None:
        """Reads every place on the host that could have kept a secret."""
        server = self.server
        data = server.data
        self.stores["podman"] = self.podman.encode()
        server.post(f"/tasks/{self.talk}/cancel", expect=200)
        self.stores["api"], self.stores["stream"] = b"".join(self.crawled()), b"".join(self.streamed())
        for path in data.rglob("*"):
            if path.is_file() and path.name != "secret.key":
                kind = "files" if path.parent.name == "files" or "files" in path.relative_to(data).parts else "database"
                self.stores[kind] = self.stores.get(kind, b"") + path.read_bytes()
        self.stores["log"] = server.log.read_bytes()
        self.stores["command line"] = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()

    def crawled(self):
        lists = ["/account", "/account/budget", "/keys", "/providers", "/credit", "/credit/entries", "/openapi.yaml"]
        nouns = {
            "/agents": ("", "/versions", "/reference-files", "/tasks"),
            "/containers": ("", "/versions"),
            "/files": ("",),
            "/tasks": ("", "/events", "/messages", "/activities", "/files", "/model-calls"),
        }
        for path in lists:
            yield self.server.client.get(f"/api/v1{path}").raise_for_status().content
        for noun, below in nouns.items():
            listed = self.server.client.get(f"/api/v1{noun}", params={"limit": 1000}).raise_for_status()
            yield listed.content
            for entry in listed.json()["data"]:
                for end in below:
                    one = self.server.client.get(f"/api/v1{noun}/{entry['id']}{end}").raise_for_status()
                    yield one.content + str(one.headers).encode()

    def streamed(self):
        for task in self.server.get("/tasks", limit=1000)["data"]:
            path = f"/api/v1/tasks/{task['id']}/events"
            yield self.server.client.get(path, params={"stream": "true"}).raise_for_status().content


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    names = ["bait", *CANARIES]
    canaries = {name: f"cnry-{n:02}-{secrets.token_hex(8)}" for n, name in enumerate(names)}
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "beside.txt").write_text(canaries["a file beside the data"])
    with fake_provider.serving() as fake:
        plain = (
            "ANTHROPIC_API_KEY",
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
            "DATABASE_PASSWORD",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
        )
        settings = {
            **fake.environ(),
            **{name: canaries[name] for name in plain},
            "http_proxy": f"http://user:{canaries['http_proxy']}@127.0.0.1:9",
            "no_proxy": "127.0.0.1",
        }
        with serving(folder / "data", **settings) as server:
            world = World(server, fake, canaries)
            world.make()
            world.look()
            world.search()
            yield world


def encodings(secret: bytes) -> list[bytes]:
    """As it is, and as others might write it."""
    aligned = [base64.b64encode(b"\0" * n + secret)[4 if n else 0 : -4].rstrip(b"=") for n in range(3)]
    return [secret, quote(secret).encode(), secret.hex().encode(), *(text for text in aligned if len(text) > 12)]


def test_there_are_thirty_secrets_and_the_hostile_agent_has_looked_well(world: World):
    assert len(CANARIES) + len(MADE) >= 30
    assert set(world.made) == set(MADE)
    counts = json.loads(world.outputs["counts.json"])
    assert counts["files"] > 1000 and counts["processes"] > 3 and counts["answers"] > 15, counts
    assert counts["memory_bytes"] > 10_000_000, counts
    found = json.loads(world.outputs["found.json"])
    assert any("bait.txt" in place for place in found[world.canaries["bait"]]), "what is there is found"
    assert len(world.fake.seen) == 4 and {seen.header("x-api-key") for seen in world.fake.seen} == {
        world.canaries["task's for anthropic"]
    }, "the key was used all the while"


def test_a_hostile_agent_finds_none_of_them(world: World):
    found = json.loads(world.outputs["found.json"])
    del found[world.canaries["bait"]]
    names = {secret: name for name, secret in world.canaries.items()}
    assert {names.get(secret, secret): places for secret, places in found.items()} == {}
    loot = world.outputs["loot"] + str(world.ended).encode()
    for name, secret in world.made.items():
        assert not any(text in loot for text in encodings(secret)), name


@pytest.mark.parametrize("name", [*CANARIES, *MADE])
def test_a_secret_is_on_the_host_only_where_it_belongs(world: World, name: str):
    allowed = CANARIES.get(name, NOWHERE)
    secret = world.made[name] if name in MADE else world.canaries[name].encode()
    places = {store for store, kept in world.stores.items() if any(text in kept for text in encodings(secret))}
    assert places <= allowed, f"{name} is in {places - allowed}"


def test_what_is_the_users_own_is_found_where_it_belongs(world: World):
    """Else the search would be blind."""
    assert world.canaries["instructions"].encode() in world.stores["database"]
    assert world.canaries["instructions"].encode() in world.stores["api"]
    assert world.canaries["message"].encode() in world.stores["api"]
    assert world.canaries["input file"].encode() in world.stores["files"]


def test_the_provider_got_only_the_key_that_is_its_own(world: World):
    seen = b"".join(request.body + str(request.headers).encode() for request in world.fake.seen)
    for name, secret in world.canaries.items():
        if name not in ("task's for anthropic", "bait"):
            assert secret.encode() not in seen, name
