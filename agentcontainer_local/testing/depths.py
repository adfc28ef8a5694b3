"""What differs between simulated and real runs: how a call that only prints, or only writes a file, is carried out."""

import itertools
import shlex
from pathlib import Path
from typing import Protocol

from agentcontainer_local.guest_contract import MOUNT, RUN
from agentcontainer_local.sandbox.simulated import Ran
from agentcontainer_local.sandbox.simulated.files import Kept
from agentcontainer_local.testing.moves import Call

NODE = f"{MOUNT}/libexec/node"
DOOR = f"{RUN}/host.sock"
FILES = "/testing/files/"  # on the door
FETCH = (
    'require("http").get({socketPath:process.argv[1],path:process.argv[2],headers:{host:"host"}},r=>{'
    "if(r.statusCode!==200)process.exit(1);"
    'r.pipe(require("fs").createWriteStream(process.argv[3]))})'
)


class Depth(Protocol):
    def command(self, task_id: str, call: Call) -> str:
        """The text for the agent's shell."""
        ...


class Simulated:
    """The shell's text is a name, by which the simulation asks what the call prints."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, Call]] = {}
        self._numbers = itertools.count(1)
        self.folder: Path | None = None  # of the store's tasks

    def command(self, task_id: str, call: Call) -> str:
        name = f"agentcontainer-testing {next(self._numbers)}"
        self._calls[name] = task_id, call
        return name

    def printed(self, command: str) -> Ran | None:
        """What the simulation asks of each command: None for one that is not ours."""
        task_id, call = self._calls.pop(command, (None, None))
        if task_id is None or call is None:
            return None
        if call.writes is not None and self.folder is not None:
            Kept(self.folder / task_id).write(*call.writes)
        return Ran(*(call.prints or ()))


class Real:
    """The shell prints the text itself, and fetches the file from the server through the door."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._numbers = itertools.count(1)

    def command(self, task_id: str, call: Call) -> str:
        if call.writes is not None:
            return self._write(*call.writes)
        output, code = call.prints or ("", 0)
        return f"printf %s {shlex.quote(output)}; exit {code}"

    def _write(self, path: str, content: bytes) -> str:
        name = str(next(self._numbers))
        self._contents[name] = content
        folder, fetch = str(Path(path).parent), [NODE, "-e", FETCH, DOOR, FILES + name, path]
        return f"mkdir -p {shlex.quote(folder)} && {shlex.join(fetch)}"

    def content(self, path: str) -> bytes | None:
        """Of a path on the door below FILES."""
        return self._contents.get(path.removeprefix(FILES))
