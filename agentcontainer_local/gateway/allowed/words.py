"""Shapes that several wire formats share."""

import re

TRUE = frozenset({True})
FALSE = frozenset({False})
NOTHING: frozenset[str] = frozenset()  # no value at all: a list of it is empty

EFFORT = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})

# An hour's cache costs twice as much to write, which the estimate knows; there is no other price on the list.
CACHE_CONTROL = {"type": frozenset({"ephemeral"}), "ttl": frozenset({"5m", "1h"})}

# Data and no address: the provider fetches nothing for an agent.
IMAGE_TYPE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
IMAGE_DATA = re.compile(r"data:image/(png|jpeg|gif|webp);base64,")
