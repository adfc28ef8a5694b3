"""Files: their bytes on disk, the rows that say what they are, and the uploads that they come by."""

from agentcontainer_local.store.files import checked, uploads
from agentcontainer_local.store.files.disk import Incoming, discard, path, receiving, sweep
from agentcontainer_local.store.files.in_flight import Arriving
from agentcontainer_local.store.files.rows import add, delete, one, owned, page, shape

__all__ = [
    "Arriving",
    "Incoming",
    "add",
    "checked",
    "delete",
    "discard",
    "one",
    "owned",
    "page",
    "path",
    "receiving",
    "shape",
    "sweep",
    "uploads",
]
