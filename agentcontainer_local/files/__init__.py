"""Files: their bytes on disk, the rows that say what they are, and the uploads that they come by."""

from agentcontainer_local.files import uploads
from agentcontainer_local.files.disk import Incoming, discard, path, receiving, sweep
from agentcontainer_local.files.rows import add, check_quota, delete, one, owned, page, shape, used_bytes

__all__ = [
    "Incoming", "add", "check_quota", "delete", "discard", "one", "owned", "page", "path", "receiving", "shape",
    "sweep", "uploads", "used_bytes",
]
