"""Faults that a test asks for."""

from starlette.types import ASGIApp


class Faults:
    def reset(self) -> None:
        """No fault is left."""

    def front(self, face: ASGIApp) -> ASGIApp:
        """A middleware for every request of a client."""
        return face
