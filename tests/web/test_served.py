"""What the server gives a browser, without one."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.routing import Router

from agentcontainer_local import web
from agentcontainer_local.api import routes
from agentcontainer_local.http import openapi
from agentcontainer_local.web.parts import VENDOR


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


async def test_the_page_names_its_parts_by_their_content_and_a_browser_may_keep_them(browser: httpx.AsyncClient):
    start = await browser.get("/")
    assert start.headers["cache-control"] == "no-cache"
    parts = re.findall(r'(?:href|src)="(web/[^"]+)"', start.text)
    assert len(parts) > 20 and all(re.match("web/[0-9a-f]{16}/", part) for part in parts)
    for part in parts:
        answer = await browser.get(f"/{part}")
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"], part
    assert "immutable" not in (await browser.get("/web/app.js")).headers["cache-control"]
    assert (await browser.get("/web/0123456789abcdef/app.js")).status_code == 404


async def test_every_part_is_compressed_for_who_takes_that(browser: httpx.AsyncClient):
    for path in ("/", "/docs", "/web/app.js", "/web/vendor/markdown-it.js"):
        plain = await browser.get(path, headers={"accept-encoding": "identity"})
        async with browser.stream("GET", path, headers={"accept-encoding": "gzip, br"}) as packed:
            raw = b"".join([chunk async for chunk in packed.aiter_raw()])
        assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
        assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"
        assert packed.headers["etag"] != plain.headers["etag"]
        assert gzip.decompress(raw) == plain.content and len(raw) < len(plain.content) * 0.6


async def test_the_libraries_are_as_they_were_published_and_have_their_licences():
    pinned = json.loads((Path(__file__).parent / "vendor.lock.json").read_text())
    there = {file.name for file in VENDOR.iterdir()}
    assert there == {*pinned, *(f"{name.split('.')[0]}.LICENSE.txt" for name in pinned)}
    for name, one in pinned.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == one["sha256"], name
        assert f"{one['package']} {one['version']}" in (VENDOR / f"{name.split('.')[0]}.LICENSE.txt").read_text()


async def test_every_operation_has_a_curl_line_and_those_without_bytes_can_be_tried(browser: httpx.AsyncClient):
    document, page = openapi.document(routes.ALL), (await browser.get("/docs")).text
    operations = [one for verbs in document["paths"].values() for one in verbs.values()]
    assert page.count("<h4>Call it</h4>") == len(operations)
    dispatch = page.partition('<article id="createTask">')[2].partition("</article>")[0]
    assert "agents/AGENT_ID/tasks&quot;" in dispatch and "-X POST" in dispatch and "-d &#x27;{" in dispatch
    assert 'href="./#/try?verb=POST&amp;path=%2Fapi%2Fv1%2Fagents%2F%7BagentId%7D%2Ftasks' in dispatch
    upload = page.partition('<article id="putUpload">')[2].partition("</article>")[0]
    assert "--data-binary @FILE" in upload and "Try it" not in upload
