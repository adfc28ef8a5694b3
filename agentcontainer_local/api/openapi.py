"""The OpenAPI 3.1 document, made from the routes and their shapes."""

import inspect
import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from starlette.responses import Response

from agentcontainer_local import __version__, schemas
from agentcontainer_local.api.http import PREFIX, Call, Route
from agentcontainer_local.errors import (
    BadRequest,
    IdempotencyConflict,
    Invalid,
    Misdirected,
    NotFound,
    Problem,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)

REF = "#/components/schemas/{model}"
DESCRIPTION = "Public API for configuring containers, configuring agents on top of them, and dispatching tasks."
TAGS = {
    "Account": "Account identity and platform billing state.",
    "Containers": "Reusable execution environments.",
    "Agents": "Reusable workers built on top of containers.",
    "Files": "Uploads and file relationships.",
    "Tasks": "Task dispatch and task inspection.",
    "Conversations": "Tasks that go on message by message.",
    "Other": "",
}
BEARER = {"bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "API key"}}
KEY_IN_QUERY = {"apiKeyInQuery": {"type": "apiKey", "in": "query", "name": "apiKey"}}
IDEMPOTENCY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same request with the same key again, within 24 hours, has no second effect and gets the first"
                   " answer, with `Idempotency-Replayed: true`.",
}


def route(routes: Iterable[Route]) -> Route:
    """The route that answers the document of `routes` and of itself."""

    @cache
    def text() -> str:
        return yaml.dump(document([*routes, this]), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120)

    def get_openapi(call: Call) -> Response:
        """Returns the raw YAML OpenAPI specification for this API."""
        return Response(text(), media_type="application/yaml")

    this = Route("GET", "/openapi.yaml", get_openapi, "Raw OpenAPI spec", "Other", open=True, raw=True,
                 content={"application/yaml": {"schema": {"type": "string"}}})
    return this


def _dumper() -> type:
    """Without anchors: they are hard to read, and some readers do not know them."""

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper


class _Untitled(GenerateJsonSchema):
    """Without a title made from each field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(routes: list[Route]) -> dict[str, Any]:
    shapes, definitions = models_json_schema(_models(routes), ref_template=REF, schema_generator=_Untitled)
    paths: dict[str, dict] = {}
    ids: set[str] = set()
    for route in routes:
        id = _operation_id(route, ids)
        ids.add(id)
        paths.setdefault(PREFIX + route.path, {})[route.verb.lower()] = {"operationId": id, **_operation(route, shapes)}
    used = {route.tag for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AgentContainer API", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": "/", "description": "This server"}],
        "security": [{"bearerAuth": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {"securitySchemes": {**BEARER, **KEY_IN_QUERY}, "schemas": definitions.get("$defs", {})},
    }


def _models(routes: list[Route]) -> list[tuple[type[BaseModel], str]]:
    takes = {route.takes: None for route in routes if route.takes}
    answers = {route.answers: None for route in routes if route.answers}
    return [(schemas.ErrorResponse, "serialization"), *((model, "validation") for model in takes),
            *((model, "serialization") for model in answers)]


def _operation(route: Route, shapes: dict) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": route.summary, "tags": [route.tag]}
    if said := inspect.getdoc(route.function):
        operation["description"] = " ".join(said.split())
    if route.open:
        operation["security"] = []
    elif route.key_in_query:
        operation["security"] = [{"bearerAuth": []}, {"apiKeyInQuery": []}]
    if parameters := _parameters(route):
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
    """`list_tasks` → `listTasks`; where one function serves two paths, the second's tag tells them apart."""
    first, *rest = route.function.__name__.split("_")
    id = first + "".join(word.capitalize() for word in rest)
    return f"{id}In{route.tag}" if id in taken else id


def _parameters(route: Route) -> list[dict]:
    found = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
             for name in re.findall(r"{(\w+)}", route.path)]
    if route.query is not None:
        schema = route.query.model_json_schema(schema_generator=_Untitled)
        for name, about in schema["properties"].items():
            about = dict(about)
            found.append({"name": name, "in": "query", "required": name in schema.get("required", ()),
                          "description": about.pop("description", ""), "schema": about})
    return [*found, IDEMPOTENCY] if route.replayable else found


def _responses(route: Route, shapes: dict) -> dict[str, dict]:
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
    bad = {str(status): {"description": ", ".join(f"`{code}`" for code in codes),
                         "content": {"application/json": {"schema": error, "examples": _examples(codes)}}}
           for status, codes in sorted(by_status.items())}
    return {str(route.status): good, **bad}


def _examples(codes: list[str]) -> dict[str, dict]:
    known = {"unauthorized": Unauthorized().body()}
    return {code: {"value": known.get(code, {"error": {"code": code, "message": "What is wrong, and what to do."}})}
            for code in codes}


def _usual(route: Route) -> list[type[Problem]]:
    """The refusals that follow from the declaration itself."""
    causes: list[tuple[Any, tuple[type[Problem], ...]]] = [
        (True, (Misdirected, TooManyRequests)),
        (not route.open, (Unauthorized,)),
        (route.takes, (BadRequest, TooLarge, UnsupportedMediaType, Invalid)),
        (route.query, (Invalid,)),
        (route.replayable, (BadRequest, IdempotencyConflict)),
        ("{" in route.path, (NotFound,)),
    ]
    return [problem for cause, problems in causes if cause for problem in problems]
