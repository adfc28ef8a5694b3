"""The AgentContainer API as one process on one machine."""

__version__ = "0.1.0"
