"""The server's page, in a browser."""

import os
import webbrowser

from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import Session, command

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def add_to(app: App) -> None:
    command(app, "open", starts=None, example="open")(open_page)


def open_page(session: Session) -> None:
    """Show the server's page in the browser. Without a browser, print the page's address."""
    show(session, "")


def show(session: Session, place: str) -> None:
    url = f"{session.url}/{place}"
    screen = any(os.environ.get(name) for name in SCREENS)
    opened = screen and not session.out.as_json and webbrowser.open(url)
    session.out.done(url, {"url": url, "opened": bool(opened)})
