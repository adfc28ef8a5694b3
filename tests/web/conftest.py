"""The pages in a real browser, at a real server; only the thinking is scripted."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agentcontainer_local.errors import Unavailable
from agentcontainer_local.pi import bundle, node
from agentcontainer_local.settings import Settings
from tests.system.conftest import SIMULATED, Server, own_server, server, serving  # noqa: F401
from tests.web.browser import Browser, Page, program

LOCK = Path(__file__).parent / "npm.lock.json"


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if program() is None:
        pytest.skip("this machine has no Chromium that can be driven: Debian's package `chromium` is one")
    browser = Browser(tmp_path_factory.mktemp("browser") / "profile")
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Iterator[Server]:
    """For pages of which neither a container nor Pi decides what they show; a module takes it as its `server`."""
    with serving(tmp_path_factory.mktemp("simulated") / "data", **SIMULATED) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[Server], Page]]:
    """A page at a server; what went wrong in it fails the test, unless the test has looked at it and cleared it."""
    with ExitStack() as stack:
        pages = []

        def open_page(server: Server) -> Page:
            pages.append(stack.enter_context(browser.opened(server.url)))
            return pages[-1]

        yield open_page
        for page in pages:
            assert page.faults == [] and page.dialogs == []
            assert [url for url in page.requests if not url.startswith((page.url, f"blob:{page.url}"))] == []


@pytest.fixture
def page(open_page, server: Server) -> Page:  # noqa: F811
    """Signed in at the shared server."""
    page = open_page(server)
    sign_in(page, server)
    return page


def sign_in(page: Page, server: Server) -> None:  # noqa: F811
    page.go("/")
    page.fill("API key", server.key)
    page.press("Enter")
    page.heading("Tasks")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, fetched once and kept beside the runtime."""
    pinned = json.loads(LOCK.read_text())["axe-core"]
    kept = Settings().cache / f"axe-core-{pinned['version']}.js"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            try:
                tarball = bundle._packed("axe-core", pinned, Path(folder), node.installed())
            except Unavailable as error:
                pytest.skip(f"axe-core can't be had here: {error}")
            bundle._unpack(tarball, Path(folder), ("axe.min.js",))
            Path(folder, "axe.min.js").replace(kept)
    return kept.read_text()
