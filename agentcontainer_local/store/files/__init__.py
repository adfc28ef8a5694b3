"""Files: their bytes on disk, the rows that say what they are, and the uploads that they come by."""

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
