"""The API from Python: `Client` blocks, `AsyncClient` awaits; both know the same operations and the same shapes.

    with Client() as client:                    # AGENTCONTAINER_URL, AGENTCONTAINER_API_KEY
        file = client.upload("sales.csv")
        task = client.create_task("agt_standard_data", instructions="Summarise it.", input_file_ids=[file.id])
        task = client.wait(task.id)
        for output in client.list_task_files(task.id):
            client.download_task_file(task.id, output.id, output.filename)
"""

from agentcontainer_local.client.clients import AsyncClient, Client
from agentcontainer_local.client.errors import Changed, ClientError, Misunderstood, NotReachable, Refused, TimedOut
from agentcontainer_local.client.events import Event

__all__ = [
    "AsyncClient", "Changed", "Client", "ClientError", "Event", "Misunderstood", "NotReachable", "Refused", "TimedOut",
]  # fmt: skip
