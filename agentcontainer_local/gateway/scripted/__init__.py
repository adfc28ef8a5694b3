"""The scripted model: answers in a provider's own format, and does what the fenced blocks of the history say."""

from agentcontainer_local.gateway.scripted.play import play

__all__ = ["play"]
