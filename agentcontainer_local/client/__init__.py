"""The API from Python: `Client` blocks, `AsyncClient` awaits. Both have the same operations and the same shapes.

    with Client() as client:                    # AGENTCONTAINER_URL, AGENTCONTAINER_API_KEY
        done = client.run("Summarise it.", inputs=["sales.csv"], output="out", max_cost_usd=0.5)
        print(done.result, done.paths)

The same in steps:

        file = client.upload("sales.csv")
        task = client.create_task("agt_standard_data", instructions="Summarise it.", input_file_ids=[file.id])
        task = client.wait(task.id)
        client.download_all(task.id, "out")

Every exception is a ClientError. The client needs only httpx, pydantic and idna.
"""

from agentcontainer_local.client.clients import AsyncClient, Client
from agentcontainer_local.client.errors import (
    Changed,
    ClientError,
    LocalFile,
    Misunderstood,
    NoKey,
    NotReachable,
    NotTrusted,
    Refused,
    TaskEnded,
    TimedOut,
    WrongUse,
)
from agentcontainer_local.client.events import Event
from agentcontainer_local.client.job import Done

__all__ = [
    "AsyncClient", "Changed", "Client", "ClientError", "Done", "Event", "LocalFile", "Misunderstood", "NoKey",
    "NotReachable", "NotTrusted", "Refused", "TaskEnded", "TimedOut", "WrongUse",
]  # fmt: skip
