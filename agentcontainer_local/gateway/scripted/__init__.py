"""The scripted model: answers in a provider's format, and runs the fenced blocks of the instructions."""

from agentcontainer_local.gateway.scripted.play import answered, play

__all__ = ["answered", "play"]
