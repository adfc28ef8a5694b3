"""What tests of the command have done beside it: tasks that end, and files that agents hand over."""

import hashlib

from agentcontainer_local.store import accounts, db, files, tasks
from tests.live import Live

AGENT = "agt_standard_coding"


def dispatched(cli, *words: str) -> str:
    return cli("run", "Look at it.", "--detach", "--model", "scripted", *words).stdout.strip()


def end(live: Live, task_id: str, event: str = "finished", **facts) -> None:
    live.do(lambda host: tasks.apply(host.db, task_id, "started", host.now()))
    live.do(lambda host: tasks.apply(host.db, task_id, event, host.now(), **facts))


def give(live: Live, task_id: str, *names: str, size: int = 0) -> None:
    """Output files, as an agent might name them, with their names as content, or with `size` bytes."""

    def act(host):
        account_id = accounts.only(host.db)["id"]
        for name in names:
            id = db.new_id("file")
            place = files.path(host.files, id)
            place.parent.mkdir(parents=True, exist_ok=True)
            content = bytes(size) or name.encode(errors="replace")
            place.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            files.add(host.db, account_id, name, "text/plain", id, len(content), digest, host.now())
            host.db.conn.execute("INSERT INTO task_outputs (task_id, file_id) VALUES (?, ?)", (task_id, id))

    live.do(act)
