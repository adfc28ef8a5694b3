"""Files that the guest fetches into the workspace before the agent starts."""

from dataclasses import dataclass
from typing import Any

from agentcontainer_local import schemas
from agentcontainer_local.store.db import Row


@dataclass(frozen=True)
class Input:
    """A file to fetch. `path`: its place under /workspace; `name`: its name at the door."""

    path: str
    name: str
    text: str | None = None  # the text of our own document, or
    file: Row | None = None  # the row of a stored file

    @property
    def size_bytes(self) -> int:
        return int(self.file["size_bytes"]) if self.file is not None else len((self.text or "").encode())

    def command(self) -> dict[str, Any]:
        command = {"path": self.path, "url": f"/guest/inputs/{self.name}", "sizeBytes": self.size_bytes}
        return {**command, "directory": True} if self.is_directory else command

    @property
    def place(self) -> str:
        return f"{self.path}/" if self.is_directory else self.path

    @property
    def is_directory(self) -> bool:
        return self.file is not None and self.file["content_type"] == schemas.DIRECTORY
