"""The OpenAPI document as a page that needs nothing but itself: no script, no font, no picture from elsewhere."""

import json
from collections.abc import Iterable
from functools import cache
from html import escape
from typing import Any

from starlette.responses import Response

from agentcontainer_local.api.http import Call, Route
from agentcontainer_local.api.openapi import document

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h2 { margin: 3rem 0 .5rem; border-bottom: 1px solid var(--line); }
nav ul { columns: 18rem; padding-left: 1.2rem; }
section { margin: 1.5rem 0; padding: .25rem 1rem; border: 1px solid var(--line); border-radius: .5rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border-radius: .4rem;
  background: color-mix(in srgb, currentColor 7%, transparent); }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--line); }
.verb { font-weight: 700; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
DEEPEST = 12


def route(routes: Iterable[Route]) -> Route:
    """The page at /docs; it is not an operation of the API and so not in its document."""

    @cache
    def text() -> str:
        return page(document(list(routes)))

    def get_docs(call: Call) -> Response:
        return Response(text(), headers={"content-security-policy": POLICY}, media_type="text/html")

    return Route("GET", "/docs", get_docs, "API reference", "Other", open=True, raw=True, prefix="")


def page(api: dict[str, Any]) -> str:
    title = escape(f"{api['info']['title']} {api['info']['version']}")
    groups = [_group(api, tag) for tag in api["tags"]]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>{escape(api['info']['description'])} "
        f"Every request but those marked so carries <code>Authorization: Bearer ac_live_…</code>. The same as "
        f"<a href='/api/v1/openapi.yaml'>OpenAPI 3.1</a>.</p>{''.join(groups)}</html>"
    )


def _group(api: dict, tag: dict) -> str:
    found = [(verb, path, operation) for path, verbs in api["paths"].items() for verb, operation in verbs.items()
             if tag["name"] in operation["tags"]]
    links = "".join(f"<li><a href='#{operation['operationId']}'>{escape(operation['summary'])}</a>"
                    for _, _, operation in found)
    body = "".join(_operation(api, *each) for each in found)
    return f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p><nav><ul>{links}</ul></nav>{body}"


def _operation(api: dict, verb: str, path: str, operation: dict) -> str:
    parts = [f"<section id='{operation['operationId']}'><h3>{escape(operation['summary'])}</h3>",
             f"<p><code><span class=verb>{verb.upper()}</span> {escape(path)}</code>"
             f"{' — needs no key' if operation.get('security') == [] else ''}</p>"]
    if "description" in operation:
        parts.append(f"<p>{escape(operation['description'])}</p>")
    if "parameters" in operation:
        parts.append(_parameters(operation["parameters"]))
    if "requestBody" in operation:
        parts.append(_body(api, "Request body", operation["requestBody"]["content"]))
    parts += [_response(api, status, answer) for status, answer in operation["responses"].items() if status < "400"]
    parts.append(_refusals(operation["responses"]))
    return "".join(parts) + "</section>"


def _parameters(parameters: list[dict]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{one['in']}{', required' if one['required'] else ''}"
        f"<td>{escape(one.get('description', ''))} {escape(_limits(one['schema']))}"
        for one in parameters
    )
    return f"<h4>Parameters</h4><table>{rows}</table>"


def _limits(schema: dict) -> str:
    """What of a parameter's schema is worth a word."""
    said = [f"{word} {schema[key]}." for key, word in (("minimum", "From"), ("maximum", "To"), ("default", "Default"))
            if schema.get(key) is not None]
    options = schema.get("enum") or [one for part in schema.get("anyOf", ()) for one in part.get("enum", ())]
    return " ".join([*said, *(["One of " + ", ".join(map(str, options)) + "."] if options else [])])


def _body(api: dict, heading: str, content: dict) -> str:
    parts = []
    for media_type, about in content.items():
        parts.append(f"<h4>{heading} <code>{escape(media_type)}</code></h4>"
                     f"<pre>{escape(sketch(about.get('schema', {}), api['components']['schemas']))}</pre>")
        if "example" in about:
            example = about["example"]
            text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
            parts.append(f"<p>Example</p><pre>{escape(text)}</pre>")
    return "".join(parts)


def _response(api: dict, status: str, answer: dict) -> str:
    return _body(api, status, answer["content"]) if answer.get("content") else f"<h4>{status}</h4><p>No body.</p>"


def _refusals(responses: dict) -> str:
    rows = "".join(f"<tr><td>{status}<td>{escape(answer['description'].replace('`', ''))}"
                   for status, answer in responses.items() if status >= "400")
    return f"<h4>Errors</h4><table>{rows}</table>" if rows else ""


def sketch(schema: dict, known: dict[str, dict], indent: int = 0) -> str:
    """A schema as the published reference writes it: a word for each value, `?` where it may be absent."""
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    if indent > DEEPEST:
        return "…"
    if "properties" in schema:
        return _object(schema, known, indent)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(sketch(one, known, indent) for one in options))
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(one) for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"[{sketch(schema.get('items', {}), known, indent)}]"
    if isinstance(schema.get("additionalProperties"), dict):
        return "{ " + f'"…": {sketch(schema["additionalProperties"], known, indent + 1)}' + " }"
    return {"string": '"string"', "integer": "123", "number": "1.5", "boolean": "true", "null": "null",
            "object": "{}"}.get(schema.get("type", ""), "any value")


def _object(schema: dict, known: dict[str, dict], indent: int) -> str:
    inner = "  " * (indent + 1)
    lines = []
    for name, about in schema["properties"].items():
        text, mark = sketch(about, known, indent + 1), ""
        if name not in schema.get("required", ()):
            text, mark = text.removesuffix(" | null"), "?"
        said = f"  // {about['description']}" if "description" in about else ""
        lines.append(f'{inner}"{name}{mark}": {text},{said}')
    return "\n".join(["{", *lines, "  " * indent + "}"]) if lines else "{}"
