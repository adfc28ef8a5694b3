"""Makes an image from another one by running one of our programs in a container."""

from pathlib import Path
from urllib.parse import quote

from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.podman.containers import Containers
from agentcontainer_local.sandbox.podman.images import Images
from agentcontainer_local.sandbox.podman.spec import Bind

SECONDS = 3600


class Changes(Containers, Images):
    async def change(
        self, image: str, repository: str, tag: str, command: list[str], binds: list[Bind], label: tuple[str, str]
    ) -> None:
        """Runs `command` as the container's root, with the capabilities to change any file, and commits the result.

        There is no network, and the image's environment is not set. Raises SandboxError with the last output of the
        command.
        """
        name = f"{Path(repository).name}-{tag}"
        body = {
            "name": name, "image": image, "entrypoint": command[:1], "command": command[1:], "unsetenvall": True,
            "user": "0:0", "cap_drop": ["all"], "cap_add": ["DAC_OVERRIDE", "FOWNER"], "no_new_privileges": True,
            "netns": {"nsmode": "none"}, "httpproxy": False, "systemd": "false", "image_volume_mode": "ignore",
            "healthconfig": {"Test": ["NONE"]}, "work_dir": "/", "log_configuration": {"driver": "k8s-file"},
            "mounts": [{"type": "bind", "source": bind.source, "destination": bind.target, "options": ["ro", "rbind"]}
                       for bind in binds],
        }  # fmt: skip
        await self.remove(name)  # a killed server may have left it
        try:
            await self._api.call("POST", "/containers/create", body=body, again=False)
            await self._api.call("POST", f"/containers/{name}/start")
            params = {"condition": "exited"}
            await self._api.call("POST", f"/containers/{name}/wait", params=params, patient=True, seconds=SECONDS)
            if await self.exit_code(name) != 0:
                raise SandboxError(await self.logs_tail(name) or "The image could not be changed.")
            kept = {"container": name, "repo": repository, "tag": tag, "changes": f"LABEL {label[0]}={label[1]}"}
            path = "/commit?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in kept.items())
            await self._api.call("POST", path, patient=True, seconds=SECONDS)
        finally:
            await self.remove(name)
