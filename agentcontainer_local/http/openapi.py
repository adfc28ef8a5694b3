"""The OpenAPI 3.1 document, generated from the routes and their shapes."""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.responses import Response

from agentcontainer_local import schemas
from agentcontainer_local.errors import (
    BadRequest,
    Forbidden,
    IdempotencyConflict,
    Invalid,
    Misdirected,
    NotFound,
    Problem,
    RequestTimeout,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from agentcontainer_local.http.json_schema import JsonSchema
from agentcontainer_local.http.routing import PREFIX, Call, Route
from agentcontainer_local.schemas.extensions import EXTENSION

Shapes = Mapping[Any, dict[str, Any]]  # (model, "validation" or "serialization") → its JSON schema
REF = "#/components/schemas/{model}"
VERSION = "0.2.0"  # of the API; the package has its own
INFO = {
    "title": "AgentContainer API",
    "version": VERSION,
    "description": "Public API for configuring containers, configuring agents on top of them, and dispatching tasks.",
    "contact": {"name": "AgentContainer", "url": "https://github.com/agentcontainer/agentcontainer-local"},
    "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
}
# Relative to the document's URL, so that it is correct behind a proxy that removes a part of the path.
HERE = "../.."
TAGS = {
    "Account": "Account identity and platform billing state.",
    "Containers": "Reusable execution environments.",
    "Agents": "Reusable workers built on top of containers.",
    "Files": "Uploads and file relationships.",
    "Tasks": "Task dispatch and task inspection.",
    "Conversations": "Tasks with several messages and answers.",
    "Other": "The description of this API.",
}
BEARER = {"bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "API key"}}
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same request with the same key again, within 24 hours, has no second effect and gets the first"
    " answer, with `Idempotency-Replayed: true`.",
}


def routes_of(routes: Iterable[Route]) -> list[Route]:
    """The routes that return the OpenAPI document of `routes` and of themselves."""

    @cache
    def as_yaml(server: str) -> str:
        made = document([*routes, *these], server)
        import yaml

        return str(yaml.dump(made, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120))

    @cache
    def as_json(server: str) -> str:
        return json.dumps(document([*routes, *these], server), ensure_ascii=False)

    def get_openapi(call: Call) -> Response:
        """Returns the raw YAML OpenAPI specification for this API."""
        return Response(as_yaml(call.host.settings.public_url or HERE), media_type="application/yaml")

    def get_openapi_json(call: Call) -> Response:
        """Returns the same specification as JSON."""
        return Response(as_json(call.host.settings.public_url or HERE), media_type="application/json")

    # Some clients read YAML as a text, others as an object, so its schema allows both.
    these = [
        Route(
            "GET",
            "/openapi.yaml",
            get_openapi,
            "Raw OpenAPI spec",
            "Other",
            open=True,
            raw=True,
            content={"application/yaml": {"schema": {"description": "This document."}}},
        ),
        Route(
            "GET",
            "/openapi.json",
            get_openapi_json,
            "Raw OpenAPI spec as JSON",
            "Other",
            open=True,
            raw=True,
            content={"application/json": {"schema": {"type": "object", "additionalProperties": True}}},
            extension=True,
        ),
    ]
    return these


def _dumper() -> type:
    """A YAML dumper without anchors, which are hard to read and not always supported."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]  # PyYAML has no types
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper


def document(routes: list[Route], server: str = HERE) -> dict[str, Any]:
    """The document. `server`: the base URL of the paths."""
    shapes, definitions = models_json_schema(_models(routes), ref_template=REF, schema_generator=JsonSchema)
    components = definitions["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    ids: set[str] = set()
    for route in routes:
        id = _operation_id(route, ids)
        ids.add(id)
        paths.setdefault(PREFIX + route.path, {})[route.verb.lower()] = {
            "operationId": id,
            **_operation(route, shapes, components),
        }
    used = {route.tag for route in routes}
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": [{"url": server.rstrip("/"), "description": "This server"}],
        "security": [{"bearerAuth": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "securitySchemes": BEARER,
            "schemas": {name: _as_enum(schema) for name, schema in sorted(components.items())},
        },
    }


def _as_enum(schema: dict[str, Any]) -> dict[str, Any]:
    """A constant as an enum with one value: more values may be added, and some generators make no type of a `const`."""
    return {"enum": [schema["const"]], "type": schema["type"]} if "const" in schema else schema


def _models(routes: list[Route]) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    takes = {route.takes: None for route in routes if route.takes}
    answers = {route.answers: None for route in routes if route.answers}
    return [
        (schemas.ErrorResponse, "serialization"),
        *((model, "validation") for model in takes),
        *((model, "serialization") for model in answers),
    ]


def _operation(route: Route, shapes: Shapes, components: dict[str, Any]) -> dict[str, Any]:
    """The description of an operation. Shapes that its parameters use are added to `components`."""
    said = inspect.getdoc(route.function) or route.summary
    operation: dict[str, Any] = {"summary": route.summary, "description": " ".join(said.split()), "tags": [route.tag]}
    if route.extension:
        operation[EXTENSION] = True
    if route.open:
        operation["security"] = []
    if parameters := _parameters(route, components):
        operation["parameters"] = parameters
    if route.takes is not None:
        content = {"schema": shapes[route.takes, "validation"]}
        if route.example is not None:
            content["example"] = route.example
        operation["requestBody"] = {"required": route.body_required, "content": {"application/json": content}}
    elif route.sends:
        operation["requestBody"] = {"required": True, "content": route.sends}
    operation["responses"] = _responses(route, shapes)
    return operation


def _operation_id(route: Route, taken: set[str]) -> str:
    """`list_tasks` → `listTasks`. If a function serves two paths, the second one gets its tag appended."""
    first, *rest = route.function.__name__.split("_")
    id = first + "".join(word.capitalize() for word in rest)
    return f"{id}In{route.tag}" if id in taken else id


def _parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    found = [_in_path(name) for name in re.findall(r"{(\w+)}", route.path)]
    if route.query is not None:
        schema = route.query.model_json_schema(schema_generator=JsonSchema, ref_template=REF)
        components.update(schema.get("$defs", {}))
        for name, about in schema["properties"].items():
            about = dict(about)
            mark = {EXTENSION: True} if about.pop(EXTENSION, False) else {}
            found.append(
                {
                    "name": name,
                    "in": "query",
                    "required": name in schema.get("required", ()),
                    "description": about.pop("description", ""),
                    **mark,
                    "schema": about,
                }
            )
    found += [
        {"name": name, "in": "header", "required": False, "description": said, "schema": {"type": "string"}}
        for name, said in route.headers.items()
    ]
    if not route.replayable:
        return found
    return [*found, {**IDEMPOTENCY, EXTENSION: True} if route.replay_extension else IDEMPOTENCY]


def _in_path(name: str) -> dict[str, Any]:
    if name == "provider":
        about = {"description": "The provider.", "schema": {"$ref": REF.format(model="Provider")}}
    else:
        about = {"description": f"Id of the {name.removesuffix('Id')}.", "schema": {"type": "string"}}
    return {"name": name, "in": "path", "required": True, **about}


def _responses(route: Route, shapes: Shapes) -> dict[str, dict[str, Any]]:
    good: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.raw:
        good["content"] = route.content
    elif route.answers is not None:
        good["content"] = {"application/json": {"schema": shapes[route.answers, "serialization"]}}
    by_status: dict[int, list[str]] = {}
    for problem in (*_usual(route), *route.errors):
        codes = by_status.setdefault(problem.status, [])
        if problem.code not in codes:
            codes.append(problem.code)
    error = shapes[schemas.ErrorResponse, "serialization"]
    bad = {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in codes),
            "content": {"application/json": {"schema": error, "examples": _examples(codes)}},
        }
        for status, codes in sorted(by_status.items())
    }
    return {str(route.status): good, **route.also, **bad}


def _examples(codes: list[str]) -> dict[str, dict[str, Any]]:
    known = {"unauthorized": Unauthorized().body()}
    return {
        code: {"value": known.get(code, {"error": {"code": code, "message": "Error message: problem and remedy."}})}
        for code in codes
    }


def _usual(route: Route) -> list[type[Problem]]:
    """The errors that follow from the route's declaration."""
    causes: list[tuple[Any, tuple[type[Problem], ...]]] = [
        (True, (Misdirected, TooManyRequests)),
        (not route.open, (Unauthorized, Forbidden)),
        (route.takes, (BadRequest, TooLarge, UnsupportedMediaType, Invalid, Unavailable)),
        (route.takes or route.sends, (RequestTimeout, UnsupportedMediaType)),
        (route.query, (Invalid,)),
        (route.replayable, (BadRequest, IdempotencyConflict)),
        ("{" in route.path, (NotFound,)),
    ]
    return [problem for cause, problems in causes if cause for problem in problems]
