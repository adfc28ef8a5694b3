"""Refused connections, recorded as events of the task."""

from dataclasses import dataclass
from typing import Any

from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import events

MOST = 200  # recorded per run
KIND = "egress_denied"


class Refused(Exception):
    """No connection is made. The agent's tool gets the message; `status` is that of the answer."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Denied(Refused):
    """The destination is not allowed. `host` and `port`: None if unreadable; `addresses`: set if they are not
    public."""

    def __init__(
        self,
        status: int,
        message: str,
        host: str | None = None,
        port: int | None = None,
        addresses: tuple[str, ...] = (),
    ):
        super().__init__(status, message)
        self.facts = {
            "host": host,
            "port": port,
            "message": message,
            **({"addresses": list(addresses)} if addresses else {}),
        }


@dataclass
class Denials:
    host: Host
    task_id: str
    count: int = 0

    def record(self, denied: Denied) -> None:
        self.count += 1
        if self.count <= MOST:
            self._append(denied.facts)
        elif self.count == MOST + 1:
            message = f"{MOST} connections were refused; more of this run are not recorded."
            self._append({"host": None, "port": None, "message": message})

    def _append(self, facts: dict[str, Any]) -> None:
        events.append(self.host.db, self.task_id, events.NOTICE, {"kind": KIND, **facts}, self.host.now())
