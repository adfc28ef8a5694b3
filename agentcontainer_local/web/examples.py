"""How an operation is called: a curl line to copy, and the address of the page that tries it."""

import json
import re
import shlex
from typing import Any
from urllib.parse import urlencode

JSON = "application/json"
BY_TYPE = {"string": "…", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
MAX_DEPTH = 4


def curl(path: str, verb: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Values in capitals, such as TASK_ID, are to be replaced."""
    words = ["curl -sS --fail-with-body"]
    if verb != "get":
        words.append(f"-X {verb.upper()}")
    words.append(f'"$AGENTCONTAINER_URL{_filled(path)}{_query(operation)}"')
    if operation.get("security") != []:
        words.append('-H "Authorization: Bearer $AGENTCONTAINER_API_KEY"')
    content = operation.get("requestBody", {}).get("content", {})
    if JSON in content:
        words.append(f'-H "Content-Type: {JSON}"')
        words.append(f"-d {shlex.quote(json.dumps(body(content[JSON], schemas), ensure_ascii=False))}")
    elif content:
        words.append("--data-binary @FILE")
    if _is_file(operation):
        words.append("-o FILE")
    return " \\\n  ".join(words)


def try_it(path: str, verb: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str | None:
    """The address of the form that sends it; None for what sends or answers bytes."""
    content = operation.get("requestBody", {}).get("content", {})
    if content and JSON not in content:
        return None
    asked = {"verb": verb.upper(), "path": path, "name": operation["summary"]}
    if query := [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]:
        asked["query"] = ",".join(query)
    if content:
        asked["body"] = json.dumps(body(content[JSON], schemas), indent=2, ensure_ascii=False)
    return f"./#/try?{urlencode(asked)}"


def body(content: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The example of the document, else what has to be there."""
    return content["example"] if "example" in content else _sample(content.get("schema", {}), schemas, 0)


def _sample(schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> Any:
    if depth > MAX_DEPTH:
        return {}
    if "$ref" in schema:
        return _sample(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth + 1)
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("oneOf", "anyOf"):
        if several in schema and "properties" not in schema:
            return _sample(schema[several][0], schemas, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "properties" in schema:
        required = schema.get("required", [])
        return {name: _sample(schema["properties"][name], schemas, depth + 1) for name in required}
    return BY_TYPE.get(schema.get("type", "string"), "…")


def _filled(path: str) -> str:
    """`/tasks/{taskId}` → `/tasks/TASK_ID`."""
    return re.sub(r"{(\w+)}", lambda found: re.sub(r"(?=[A-Z])", "_", found[1]).upper(), path)


def _query(operation: dict[str, Any]) -> str:
    required = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query" and one["required"]]
    return "?" + "&".join(f"{name}={name.upper()}" for name in required) if required else ""


def _is_file(operation: dict[str, Any]) -> bool:
    good = next(response for status, response in operation["responses"].items() if status.startswith("2"))
    return any(media in ("application/octet-stream", "application/zip") for media in good.get("content", {}))
