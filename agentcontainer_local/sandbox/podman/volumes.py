"""Named volumes: a task's workspace and its agent's session. They outlive containers."""

import json
from datetime import datetime

from agentcontainer_local.sandbox.errors import Refusal
from agentcontainer_local.sandbox.podman.containers import STORE
from agentcontainer_local.sandbox.podman.libpod import Libpod
from agentcontainer_local.sandbox.podman.spec import Volume


class Volumes:
    def __init__(self, api: Libpod, store_id: str):
        self._api = api
        self.store_id = store_id

    async def create_volume(self, name: str, labels: dict[str, str], uid: int) -> None:
        """Creates a volume whose root belongs to that uid inside containers. An existing volume is left as it is."""
        body = {
            "Name": name,
            "Labels": {**labels, STORE: self.store_id},
            "Options": {"o": f"uid={uid},gid={uid}"},
        }
        try:
            await self._api.call("POST", "/volumes/create", body=body)
        except Refusal as said:
            if "already exists" not in str(said):
                raise

    async def remove_volume(self, name: str) -> None:
        """Removes a volume. Does nothing if it is gone. Raises SandboxError if a container uses it."""
        await self._api.call("DELETE", f"/volumes/{name}", expect=(404,))

    async def volumes(self) -> list[Volume]:
        """All volumes of this store."""
        filters = json.dumps({"label": [f"{STORE}={self.store_id}"]})
        answer = await self._api.call("GET", "/volumes/json", params={"filters": filters})
        return [
            Volume(row["Name"], row.get("Labels") or {}, datetime.fromisoformat(row["CreatedAt"]), row["Mountpoint"])
            for row in answer.body or ()
        ]

    async def labels_of_all_volumes(self, label: str) -> list[dict[str, str]]:
        """The labels of every volume in this account's storage that has that label, of any store."""
        params = {"filters": json.dumps({"label": [label]})}
        return [row["Labels"] for row in (await self._api.call("GET", "/volumes/json", params=params)).body or ()]
