"""What the server gives a browser, without one."""

import re

import httpx
import pytest
from starlette.routing import Router

from agentcontainer_local import web
from agentcontainer_local.api import openapi, routes


@pytest.fixture
async def browser():
    app = Router(web.routes(lambda: openapi.document(routes.ALL)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_every_page_and_part_forbids_what_it_does_not_need(browser: httpx.AsyncClient):
    for path in ("/", "/docs", "/web/app.js", "/web/style.css", "/web/nothing"):
        answer = await browser.get(path)
        policy = dict(part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["trusted-types"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


async def test_nothing_of_the_page_comes_from_elsewhere_or_parses_html():
    for file in web.STATIC.iterdir():
        text = file.read_text()
        elsewhere = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert elsewhere == set(), file.name
        parsing = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser"
        assert not re.search(parsing, text), file.name
        assert not re.search(r"<script>|\son\w+=|style=", text) or file.suffix == ".js", file.name


async def test_every_module_that_is_imported_is_there(browser: httpx.AsyncClient):
    for file in web.STATIC.glob("*.js"):
        for name in re.findall(r'from "\./([\w.]+)"', file.read_text()):
            assert (await browser.get(f"/web/{name}")).headers["content-type"].startswith("text/javascript")


async def test_a_part_is_sent_once_and_then_only_confirmed(browser: httpx.AsyncClient):
    first = await browser.get("/web/app.js")
    again = await browser.get("/web/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


async def test_only_the_pages_own_files_are_given(browser: httpx.AsyncClient):
    for path in ("/web/", "/web/../__init__.py", "/web/%2e%2e%2f__init__.py", "/web/docs.html", "/web/%2Fdocs.html"):
        assert (await browser.get(path)).status_code == 404, path


async def test_the_reference_shows_every_operation_and_every_shape(browser: httpx.AsyncClient):
    document, page = openapi.document(routes.ALL), (await browser.get("/docs")).text
    for verbs in document["paths"].values():
        for operation in verbs.values():
            assert f'<article id="{operation["operationId"]}">' in page
    for name in document["components"]["schemas"]:
        assert f'<article id="shape-{name}">' in page
    assert "<script" not in page and "style=" not in page
