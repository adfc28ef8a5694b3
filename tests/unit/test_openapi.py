"""The OpenAPI document as generators of clients read it: every rule here is one that some generator needs."""

import builtins
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from agentcontainer_local.api import routes
from agentcontainer_local.http import openapi
from tests.conftest import calling, set_context

# Names that a class of a client must not have: globals of JavaScript and the browser, and all of java.lang.
GLOBALS = frozenset(
    re.findall(
        r"\w+",
        """
    AbortController AbortSignal Animation Array ArrayBuffer Atomics Attr Audio BigInt Blob Body Boolean Cache Client
    Clipboard Comment Credential Crypto DataView Date Document Element Error Event EventSource Extension FileList
    FileReader Float32Array FormData Function Geolocation Headers History Image Infinity Int32Array Intl Iterator JSON
    Location Lock Map Math MessageChannel MessageEvent MessagePort NaN Navigator Node Notification Number Object Option
    Origin Path2D Performance Permissions Plugin Promise Proxy Range ReadableStream Reflect RegExp Report Request
    Response Screen Selection Set Storage String Symbol Text Touch URL Uint8Array WeakMap WeakRef WebSocket Window
    Worker
    Appendable AutoCloseable Byte CharSequence Character Class ClassLoader ClassValue Cloneable Comparable Compiler
    Deprecated Double Enum Exception Float FunctionalInterface IllegalStateException Integer Iterable Long Module
    ModuleLayer Override Package Process ProcessBuilder ProcessHandle Readable Record Runnable Runtime RuntimeException
    RuntimePermission SafeVarargs ScopedValue SecurityManager Short StackTraceElement StackWalker StrictMath
    StringBuffer StringBuilder StringTemplate SuppressWarnings System Thread ThreadGroup ThreadLocal Throwable Void
""",
    )
) | set(dir(builtins))


@pytest.fixture(scope="module")
def document() -> dict:
    return openapi.document(routes.ALL)


def schemas_in(node: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    """Every schema of the document, with where it is."""
    if isinstance(node, dict):
        if {"type", "enum", "const", "anyOf", "oneOf", "allOf"} & node.keys() and path[-1:] != ("properties",):
            yield path, node
        for name, value in node.items():
            if name not in ("example", "examples", "default", "enum"):
                yield from schemas_in(value, (*path, name))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from schemas_in(value, (*path, at))


def test_no_name_is_a_global_of_the_languages_of_clients(document):
    assert set(document["components"]["schemas"]) & GLOBALS == set()


def test_an_enum_is_a_component_with_a_name(document):
    found = {path for path, schema in schemas_in(document) if "enum" in schema}
    assert {path[:2] for path in found} == {("components", "schemas")} and {len(path) for path in found} == {3}


def test_a_constant_that_may_be_null_is_an_enum_with_a_name(document):
    for path, schema in schemas_in(document):
        assert "const" not in schema or (schema["type"] == "string" and len(path) > 3), path


def test_no_number_is_cut_off(document):
    numbers = [(path, schema) for path, schema in schemas_in(document) if {"integer", "number"} & set(kinds(schema))]
    assert len(numbers) > 50
    for path, schema in numbers:
        assert schema["format"] == ("int64" if "integer" in kinds(schema) else "double"), path
        assert abs(schema.get("maximum", 0)) <= 2**53, f"{path}: JavaScript cannot hold it"


def kinds(schema: dict) -> list[str]:
    return schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")]


def test_nothing_is_null_by_default_and_no_answer_has_defaults(document):
    for path, schema in schemas_in(document):
        assert schema.get("default", "") is not None, path
        for name in schema.get("required", ()) if "properties" in schema else ():
            assert "default" not in schema["properties"][name], (path, name)


def test_a_plain_type_that_may_be_null_is_a_list_of_types(document):
    for path, schema in schemas_in(document):
        if {"type": "null"} in schema.get("anyOf", ()):
            assert [one for one in schema["anyOf"] if "$ref" in one], path


def test_no_object_is_a_choice_of_required_fields(document):
    for path, schema in schemas_in(document):
        choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
        assert not any("required" in one for one in choices), path


def test_a_choice_of_objects_says_which_one_it_is(document):
    for path, schema in schemas_in(document):
        if "oneOf" in schema:
            assert schema["discriminator"]["propertyName"], path
            assert set(schema["discriminator"]["mapping"].values()) == {one["$ref"] for one in schema["oneOf"]}


@pytest.mark.parametrize("value", [" x", "x ", "\nx\n", "a\nb", "x"])
def test_a_pattern_means_the_same_to_search_match_and_full_match(document, value):
    texts = [
        schema["pattern"]
        for path, schema in schemas_in(document)
        if path[-1:] in (("instructions",), ("title",)) and "pattern" in schema
    ]
    assert texts
    for pattern in texts:
        assert re.search(pattern, value) and re.match(pattern, value) and re.fullmatch(pattern, value)
        assert not re.search(pattern, " \n\t")


def test_every_pattern_is_anchored(document):
    for path, schema in schemas_in(document):
        assert re.fullmatch(r"\^.*\$", schema.get("pattern", "^$"), re.DOTALL), path


def test_a_task_needs_its_instructions_and_may_have_them_under_the_older_name(document):
    schema = document["components"]["schemas"]["CreateTaskRequest"]
    assert schema["required"] == ["instructions"] and schema["properties"]["instructions"]["type"] == "string"
    assert schema["properties"]["description"]["deprecated"] is True


async def test_the_older_name_is_still_accepted(client):
    for body in ({"description": "x"}, {"description": "x", "instructions": None}, {"instructions": "x"}):
        made = await client.post("/agents/agt_standard_data/tasks", json={"overrides": {"model": "scripted"}, **body})
        assert made.status_code == 201 and made.json()["instructions"] == made.json()["description"] == "x"


def test_the_reference_has_its_own_version_and_names(document):
    assert document["info"]["version"] == "0.2.0"
    assert {
        "OutputPolicy",
        "OutputDescriptor",
        "ErrorResponse",
        "Task",
        "File",
        "Agent",
        "Container",
        "TaskOverrides",
        "AgentDefaults",
        "AgentVersionDefaults",
        "TaskResponseOverrides",
        "PreparedUpload",
        "ListTasksResponse",
    } <= set(document["components"]["schemas"])


def test_everything_is_described(document):
    info = document["info"]
    assert info["license"]["identifier"] == "Apache-2.0" and info["contact"]["url"].startswith("https://")
    assert all(tag["description"] for tag in document["tags"])
    for verbs in document["paths"].values():
        for operation in verbs.values():
            assert operation["description"] and operation["summary"]
            assert all(
                parameter["description"]
                for parameter in operation.get("parameters", ())
                if parameter["name"] not in ("fromTurn", "toTurn")
            )


def test_a_generated_client_sends_its_key_in_a_header_alone(document):
    assert set(document["components"]["securitySchemes"]) == {"bearerAuth"}
    for verbs in document["paths"].values():
        for operation in verbs.values():
            assert operation.get("security", []) == []
    parameters = document["paths"]["/api/v1/tasks/{taskId}/events"]["get"]["parameters"]
    assert [one["required"] for one in parameters if one["name"] == "apiKey"] == [False]


def test_the_document_says_how_bytes_are_sent_and_come(document):
    upload = document["paths"]["/api/v1/uploads/{uploadId}/content"]
    assert list(upload["put"]["requestBody"]["content"]) == ["application/octet-stream", "*/*"]
    assert list(upload["post"]["requestBody"]["content"]) == ["multipart/form-data", "*/*"]
    assert [one["required"] for one in upload["put"]["parameters"] if one["name"] == "signature"] == [True]
    for path in ("/api/v1/files/{fileId}/content", "/api/v1/tasks/{taskId}/files/{fileId}"):
        operation = document["paths"][path]["get"]
        assert {"200", "206", "304", "416"} <= set(operation["responses"])
        assert "Range" in [one["name"] for one in operation["parameters"]]


def test_the_events_of_the_stream_have_types(document):
    schemas = document["components"]["schemas"]
    assert schemas["TaskEvent"]["properties"]["event"] == {"$ref": "#/components/schemas/TaskEventName"}
    assert schemas["TaskEvent"]["properties"]["data"] == {"$ref": "#/components/schemas/TaskEventData"}
    assert set(schemas["TaskEventData"]["discriminator"]["mapping"]) == set(schemas["TaskEventName"]["enum"])
    for name, reference in schemas["TaskEventData"]["discriminator"]["mapping"].items():
        assert schemas[reference.rpartition("/")[2]]["properties"]["type"]["const"] == name


async def test_the_document_is_the_same_as_json(host):
    async with calling(host, None) as nobody:
        as_json, as_yaml = await nobody.get("/openapi.json"), await nobody.get("/openapi.yaml")
    assert as_json.headers["content-type"] == "application/json"
    assert as_json.json() == json.loads(json.dumps(yaml.safe_load(as_yaml.text)))


@pytest.mark.parametrize(
    ("public_url", "server"),
    [
        (None, "../.."),
        ("https://example.org", "https://example.org"),
        ("https://example.org/a/b/", "https://example.org/a/b"),
    ],
)
async def test_the_document_says_where_the_server_is(host, public_url, server):
    """Relative to the document, where nobody has told it: behind a proxy it does not know its own path."""
    set_context(host, settings=host.settings.model_copy(update={"public_url": public_url}))
    async with calling(host, None) as nobody:
        answer = await nobody.get("/openapi.json")
    assert [one["url"] for one in answer.json()["servers"]] == [server]


@pytest.mark.parametrize("query", ["after=", "cursor=", "limit=", "order=", "after=&stream=", "apiKey="])
async def test_an_empty_parameter_is_as_one_that_is_not_there(client, query):
    task = (
        await client.post(
            "/agents/agt_standard_data/tasks", json={"instructions": "x", "overrides": {"model": "scripted"}}
        )
    ).json()
    whole = (await client.get(f"/tasks/{task['id']}/events")).json()
    assert (await client.get(f"/tasks/{task['id']}/events?{query}")).json() == whole


async def test_a_stream_of_an_ended_task_is_sent_once_and_then_has_no_content(client):
    task = (
        await client.post(
            "/agents/agt_standard_data/tasks", json={"instructions": "x", "overrides": {"model": "scripted"}}
        )
    ).json()
    await client.post(f"/tasks/{task['id']}/cancel")
    path = f"/tasks/{task['id']}/events?stream=true"
    for header in ({}, {"Last-Event-ID": ""}):
        first = await client.get(path, headers=header)
        assert first.status_code == 200 and first.text.startswith("retry: 1000\nid: ")
    last = re.findall(r"^id: (\d+)$", first.text, re.MULTILINE)[-1]
    for again in (client.get(path, headers={"Last-Event-ID": last}), client.get(f"{path}&after={last}")):
        answer = await again
        assert (answer.status_code, answer.content) == (204, b"")
