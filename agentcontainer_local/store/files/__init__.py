"""Files: their contents on disk, their rows, and uploads."""

from agentcontainer_local.store.files import checked, uploads
from agentcontainer_local.store.files.disk import Incoming, discard, path, receiving, sweep
from agentcontainer_local.store.files.in_flight import Arriving
from agentcontainer_local.store.files.names import free_name, safe_name
from agentcontainer_local.store.files.rows import add, delete, one, owned, page, shape

__all__ = [
    "Arriving",
    "Incoming",
    "add",
    "checked",
    "delete",
    "discard",
    "free_name",
    "one",
    "owned",
    "page",
    "path",
    "receiving",
    "safe_name",
    "shape",
    "sweep",
    "uploads",
]
