"""Shapes for several wire formats."""

import re

TRUE = frozenset({True})
FALSE = frozenset({False})
NOTHING: frozenset[str] = frozenset()  # no value is allowed, so a list of it must be empty

EFFORT = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})

# Writing to the one-hour cache costs twice as much; the estimate includes that. Nothing else here changes the price.
CACHE_CONTROL = {"type": frozenset({"ephemeral"}), "ttl": frozenset({"5m", "1h"})}

# Image data, never a URL, so that the provider fetches nothing for an agent.
IMAGE_TYPE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
IMAGE_DATA = re.compile(r"data:image/(png|jpeg|gif|webp);base64,")
