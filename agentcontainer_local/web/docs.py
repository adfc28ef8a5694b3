"""The OpenAPI document as a page: plain HTML without scripts, so that it works offline and can be searched."""

import json
from html import escape
from itertools import groupby
from typing import Any

from agentcontainer_local.schemas.extensions import EXTENSION
from agentcontainer_local.web import examples

BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "length at least",
    "maxLength": "length at most",
    "default": "by default",
}
VERBS = ("get", "post", "put", "patch", "delete")
Operation = tuple[str, str, dict[str, Any]]  # path, verb, and what the document says of it


def page(document: dict[str, Any], folder: str) -> str:
    """`folder`: where the page's files are."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (path, verb, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
        if verb in VERBS
    ]
    tags = [tag["name"] for tag in document["tags"]]
    operations.sort(key=lambda one: tags.index(one[2]["tags"][0]))  # stable: else in the document's order
    by_tag = [(tag, list(group)) for tag, group in groupby(operations, lambda one: one[2]["tags"][0])]
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    sections = "".join(_section(tag, about[tag], group, schemas) for tag, group in by_tag)
    shapes = "".join(_shape(name, schema) for name, schema in sorted(schemas.items()))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])}</title>
<link rel="icon" href="{folder}icon.svg">
<link rel="stylesheet" href="{folder}style.css">
<link rel="stylesheet" href="{folder}docs.css">
</head>
<body class="docs">
<a class="skip" href="#content">Skip to the content</a>
<header class="bar"><a class="brand" href="./">AgentContainer</a><span class="muted">API reference</span></header>
<div class="docs-columns">
<nav aria-label="Operations">{_contents(by_tag)}</nav>
<main id="content" tabindex="-1">
<h1>{escape(info["title"])} <small>{escape(info["version"])}</small></h1>
<p>{escape(info["description"])} Every call takes <code>Authorization: Bearer ac_live_…</code>, unless it says that it
needs no key. The same as a document: <a href="api/v1/openapi.yaml">openapi.yaml</a>.</p>
<p>What is marked as <span class="extension">extension</span> is not in the hosted service's published documents.
<code>agentcontainer serve --hosted-only</code> refuses it.</p>
<p>The curl lines below need two variables. A click on a line selects all of it.</p>
<pre class="curl" tabindex="0">export AGENTCONTAINER_URL=http://127.0.0.1:3000
export AGENTCONTAINER_API_KEY=ac_live_…</pre>
{sections}
<section><h2 id="shapes">Shapes</h2>{shapes}</section>
</main>
</div>
</body>
</html>
"""


def _contents(by_tag: list[tuple[str, list[Operation]]]) -> str:
    groups = []
    for tag, operations in by_tag:
        links = "".join(
            f'<li><a href="#{escape(op["operationId"])}">{escape(op["summary"])}</a></li>' for _, _, op in operations
        )
        groups.append(f"<h2>{escape(tag)}</h2><ul>{links}</ul>")
    return "".join(groups) + '<h2><a href="#shapes">Shapes</a></h2>'


def _section(tag: str, about: str, operations: list[Operation], schemas: dict[str, Any]) -> str:
    shown = "".join(_operation(*operation, schemas) for operation in operations)
    return f"<section><h2>{escape(tag)}</h2><p>{escape(about)}</p>{shown}</section>"


def _operation(path: str, verb: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    id = escape(operation["operationId"])
    keyless = '<p class="muted">Needs no key.</p>' if operation.get("security") == [] else ""
    return (
        f'<article id="{id}"><h3>{escape(operation["summary"])}{_label(operation)}</h3>'
        f'<p class="call"><span class="verb {verb}">{verb.upper()}</span> <code>{escape(path)}</code></p>'
        f"<p>{_prose(operation.get('description', ''))}</p>{keyless}"
        f"{_parameters(operation.get('parameters', []))}{_body(operation.get('requestBody'))}"
        f"{_responses(operation['responses'])}{_call(path, verb, operation, schemas)}</article>"
    )


def _call(path: str, verb: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    address = examples.try_it(path, verb, operation, schemas)
    link = f' <a class="button" href="{escape(address)}">Try it</a>' if address else ""
    line = escape(examples.curl(path, verb, operation, schemas))
    return f'<div class="calling"><h4>Call it</h4>{link}</div><pre class="curl" tabindex="0">{line}</pre>'


def _parameters(parameters: list[dict[str, Any]]) -> str:
    return _table(
        "Parameters",
        [
            (
                _named(one["name"], one["required"], one),
                f"{escape(one['in'])}, {_type(one['schema'])}",
                _prose(one.get("description", "")),
            )
            for one in parameters
        ],
    )


def _body(body: dict[str, Any] | None) -> str:
    if body is None:
        return ""
    parts = []
    for media_type, content in body["content"].items():
        parts.append(f"<p><code>{escape(media_type)}</code>: {_type(content.get('schema', {}))}</p>")
        if "example" in content:
            parts.append(_example(content["example"]))
    return "<h4>Body</h4>" + "".join(parts)


def _responses(responses: dict[str, dict[str, Any]]) -> str:
    return _table(
        "Answers",
        [
            (f"<code>{escape(status)}</code>", _answered(response), _prose(response.get("description", "")))
            for status, response in responses.items()
        ],
    )


def _answered(response: dict[str, Any]) -> str:
    return "; ".join(
        _type(content.get("schema", {})) if media_type == "application/json" else f"<code>{escape(media_type)}</code>"
        for media_type, content in response.get("content", {}).items()
    )


def _shape(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    fields = _table(
        "",
        [
            (_named(field, field in required, about), _type(about), _prose(about.get("description", "")))
            for field, about in schema.get("properties", {}).items()
        ],
    )
    kind = "" if fields else f"<p>{_type(schema)}</p>"
    return (
        f'<article id="shape-{escape(name)}"><h3>{escape(name)}</h3>'
        f"<p>{_prose(schema.get('description', ''))}</p>{kind}{fields}</article>"
    )


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    heading = f"<h4>{title}</h4>" if title else ""
    body = "".join(
        f'<tr><th scope="row">{first}</th><td>{second}</td><td>{third}</td></tr>' for first, second, third in rows
    )
    return f"{heading}<table><tbody>{body}</tbody></table>"


def _named(name: str, required: bool, about: dict[str, Any]) -> str:
    return f"<code>{escape(name)}</code>" + (' <span class="muted">required</span>' if required else "") + _label(about)


def _label(about: dict[str, Any]) -> str:
    """For an operation or a field that the hosted service does not have."""
    return ' <span class="extension">extension</span>' if about.get(EXTENSION) else ""


def _type(schema: dict[str, Any]) -> str:
    """In a few words, with a link where it is a shape of its own."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if any("type" in one or "$ref" in one or "const" in one for one in schema.get(several, ())):
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if isinstance(schema.get("type"), list):
        return " or ".join(_type({**schema, "type": one}) for one in schema["type"])
    if schema.get("type") == "null":
        return "null"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    words = [escape(schema.get("format") or schema.get("type") or "anything")]
    words += [
        f"{said} {escape(json.dumps(schema[name]))}" for name, said in BOUNDS.items() if schema.get(name) is not None
    ]
    return ", ".join(words)


def _prose(text: str) -> str:
    """Escaped; what stands between backticks is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 and at < len(parts) - 1 else part for at, part in enumerate(parts))


def _example(value: Any) -> str:
    return f'<pre tabindex="0">{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>'
