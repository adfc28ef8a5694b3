"""A container's inside without a container: the runtime's layout, a run directory, a workspace; real node, real Pi."""

import asyncio
import json
import os
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentcontainer_local.pi import bundle

PATHS = {"anthropic": "anthropic", "openai": "openai/v1", "openrouter": "openrouter/api/v1"}
SETTINGS = {
    "cacheWarming": "off",
    "retry": {"maxRetries": 5, "baseDelayMs": 200},
    "httpIdleTimeoutMs": 604_800_000,
    "enableInstallTelemetry": False,
    "defaultProjectTrust": "never",
}


@dataclass
class Lab:
    root: Path
    node: Path
    pi: Path
    port: int
    compiled: Path
    daemons: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("run", "workspace", "state", "agent/libexec"):
            (self.root / name).mkdir(parents=True)
        shutil.copytree(bundle.GUEST, self.root / "agent/guest")
        shutil.move(self.root / "agent/guest/bin", self.root / "agent/bin")
        (self.root / "agent/libexec/node").symlink_to(self.node)
        (self.root / "agent/pi").symlink_to(self.pi)

    @property
    def run_dir(self) -> Path:
        return self.root / "run"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/agent/bin:/usr/bin:/bin",
            "HOME": str(self.workspace),
            "NODE_COMPILE_CACHE": str(self.compiled),
            "AC_RUN_DIR": str(self.run_dir),
            "AC_WORKSPACE": str(self.workspace),
            "AC_STATE": str(self.state),
        }

    def launch(
        self,
        provider: str = "anthropic",
        model: str = "claude-sonnet-4-5",
        mode: str = "autonomous",
        models: list[dict[str, Any]] | None = None,
        weak: str | None = None,
        settings: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        """Writes launch.json as the host would."""
        agent_dir = self.state / "pi"
        reached = {"baseUrl": f"http://127.0.0.1:{self.port}/{PATHS[provider]}", "apiKey": "none"}
        providers = {"providers": {provider: {**reached, **({"models": models} if models else {})}}}
        launch = {
            "mode": mode,
            "files": {
                f"{agent_dir}/models.json": json.dumps(providers),
                f"{agent_dir}/settings.json": json.dumps({**SETTINGS, **(settings or {})}),
                f"{agent_dir}/system.md": "You are a test.",
            },
            "argv": [
                str(self.node),
                f"{self.root}/agent/pi/dist/bundle/cli.js",
                "--mode",
                "rpc",
                "-na",
                "-ne",
                "-ns",
                "-np",
                "--no-themes",
                "-e",
                f"{self.root}/agent/guest/extension.mjs",
                "--session-dir",
                f"{self.state}/sessions",
                "--session-id",
                "tsk-1",
                "--provider",
                "agentcontainer" if weak else provider,
                "--model",
                model,
                "--append-system-prompt",
                f"{agent_dir}/system.md",
            ],
            "env": {
                "PI_CODING_AGENT_DIR": str(agent_dir),
                "PI_OFFLINE": "1",
                "PI_TELEMETRY": "0",
                "PI_SKIP_VERSION_CHECK": "1",
                **({"AC_WEAK_MODEL": weak} if weak else {}),
            },
            "model": {"provider": provider, "id": model},
            "gatewayPort": self.port,
            **changes,
        }
        (self.run_dir / "launch.json").write_text(json.dumps(launch))

    async def start(self, **env: str) -> Process:
        """Starts the daemon, as the container's command does."""
        daemon = f"{self.root}/agent/guest/daemon.mjs"
        process = await asyncio.create_subprocess_exec(
            str(self.node),
            daemon,
            env={**self.env, **env},
            cwd=self.workspace,
            start_new_session=True,
        )
        self.daemons.append(process)
        return process

    async def command(self, *argv: str, user: int | None = None, cwd: Path | None = None) -> tuple[int, str, str]:
        """Runs finish, hibernate or attach as the agent would; exit code, stdout, stderr."""
        process = await self.begin(*argv, user=user, cwd=cwd)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def begin(self, *argv: str, user: int | None = None, cwd: Path | None = None, **env: str) -> Process:
        another = () if user is None else ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
        return await asyncio.create_subprocess_exec(
            *another,
            f"{self.root}/agent/bin/{argv[0]}",
            *argv[1:],
            env={**self.env, **env},
            cwd=cwd or self.workspace,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def kill(self) -> None:
        """The container dies: the daemon and Pi are gone from one moment to the next."""
        pi = self.pi_pid()
        self.daemons[-1].kill()
        os.kill(pi, signal.SIGKILL)
        await self.daemons[-1].wait()

    def pi_pid(self) -> int:
        daemon = self.daemons[-1].pid
        children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
        return int(children[0])

    async def close(self) -> None:
        for daemon in self.daemons:
            if daemon.returncode is None:
                children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
                daemon.kill()
                for child in children:
                    os.kill(int(child), signal.SIGKILL)
            await daemon.wait()
        shutil.rmtree(self.root)
