"""Agents: named workers that run in containers. Each has versions; the last one is current.

A version never changes. A change of an agent's execution adds a version, and a task keeps its version.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic.alias_generators import to_camel

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, Invalid, NotFound, Unsupported
from agentcontainer_local.store import containers, files, task_fields
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import (
    ALL,
    STANDARD_DOWN,
    STANDARD_UP,
    Database,
    Row,
    dumps,
    iso,
    row,
    rows,
    single,
)
from agentcontainer_local.store.rows import AgentVersion
from agentcontainer_local.store.secrets import Vault

PROMPT = (
    "Follow /workspace/task/HARNESS.md and complete the task in /workspace/task/TASK.md."
    " Work step by step, check what you made before you hand it over, and say plainly what could not be done."
)
MAX_REFERENCE_FILES = 10_000  # in one version
# No internet access unless it is requested: some machines can't provide it safely.
DEFAULTS = {
    "model": "claude-sonnet-4-5",
    "internetAccess": False,
    "maxRuntimeSeconds": 3600,
    "outputPolicy": {"mode": "any"},
    "runtimeRegion": "any",
}
# id → (name, description, container, base prompt)
STANDARD = {
    "agt_standard_coding": (
        "Coding",
        "Writes, changes and tests code.",
        "ctr_standard_coding",
        f"You are a careful software engineer. {PROMPT} Read before you write, keep changes small, run the tests.",
    ),
    "agt_standard_data": (
        "Data processing",
        "Cleans, analyses and charts data.",
        "ctr_standard_data",
        f"You are a careful data analyst. {PROMPT} Look at the data first, compute with programs and never by"
        " guessing, and give every figure its source and unit.",
    ),
    "agt_standard_documents": (
        "Document analysis",
        "Reads PDFs, scans and office files, and writes about them.",
        "ctr_standard_documents",
        f"You are a careful reader of documents. {PROMPT} Extract the text before you judge it, quote with page"
        " numbers, and keep what the document says apart from what you conclude.",
    ),
}


@dataclass(frozen=True)
class Content:
    """The content of a version. Equal contents are not stored twice in a row."""

    container_version_id: str
    base_prompt: str
    defaults: dict[str, Any]  # by their API names, without the key
    key: str | bytes | None  # decrypted; bytes: encrypted with a secret.key that is lost
    skills: list[dict[str, Any]]
    file_ids: list[str]


# Standard agents


def ensure_standard(db: Database, now: datetime) -> None:
    """Writes the standard agents, with new versions if they have changed. Call it after containers.ensure_standard."""
    with db.atomic():
        for id, (name, description, container_id, prompt) in STANDARD.items():
            db.conn.execute(
                "INSERT INTO agents (id, name, description, created_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description",
                (id, name, description, iso(now)),
            )
            container_version_id = containers.current(db, container_id)["id"]
            wanted = Content(container_version_id, prompt, DEFAULTS, None, [], [])
            newest = row(db, NEWEST, (id,), of=AgentVersion)
            if newest is None or _content(db, None, newest) != wanted:
                _add_version(db, None, id, wanted, now)


# Finding

OWNED = "SELECT * FROM agents WHERE id = ? AND (account_id = ? OR account_id IS NULL)"
NEWEST = "SELECT * FROM agent_versions WHERE agent_id = ? ORDER BY number DESC LIMIT 1"
VERSION = "SELECT * FROM agent_versions WHERE id = ? AND agent_id = ?"
PAGE_UP = (
    f"SELECT agents.*, {STANDARD_UP} AS number FROM agents"
    f" WHERE (account_id = :account OR account_id IS NULL) AND {STANDARD_UP} > :after"
    f" ORDER BY {STANDARD_UP} LIMIT :limit"
)
PAGE_DOWN = (
    f"SELECT agents.*, {STANDARD_DOWN} AS number FROM agents"
    f" WHERE (account_id = :account OR account_id IS NULL) AND {STANDARD_DOWN} < :after"
    f" ORDER BY {STANDARD_DOWN} DESC LIMIT :limit"
)
VERSIONS_UP = "SELECT * FROM agent_versions WHERE agent_id = ? AND number > ? ORDER BY number LIMIT ?"
VERSIONS_DOWN = "SELECT * FROM agent_versions WHERE agent_id = ? AND number < ? ORDER BY number DESC LIMIT ?"
FILES_UP = (
    "SELECT files.*, position AS number FROM agent_version_files JOIN files ON files.id = file_id"
    " WHERE agent_version_id = ? AND position > ? ORDER BY position LIMIT ?"
)
FILES_DOWN = (
    "SELECT files.*, position AS number FROM agent_version_files JOIN files ON files.id = file_id"
    " WHERE agent_version_id = ? AND position < ? ORDER BY position DESC LIMIT ?"
)


def owned(db: Database, account_id: str, agent_id: str) -> Row:
    """One of the account's agents, or a standard agent. Raises NotFound."""
    found = row(db, OWNED, (agent_id, account_id))
    if found is None:
        raise NotFound(f"There is no agent {agent_id}.")
    return found


def custom(db: Database, account_id: str, agent_id: str) -> Row:
    """An agent that the account may change. Raises NotFound, and Conflict for a standard agent."""
    found = owned(db, account_id, agent_id)
    if found["account_id"] is None:
        raise Conflict("A standard agent can't be changed. Fork it and change the fork.")
    return found


def current(db: Database, agent_id: str) -> AgentVersion:
    return single(db, NEWEST, (agent_id,), of=AgentVersion)


def version(db: Database, agent_id: str, version_id: str | None) -> AgentVersion:
    """The version for a task: the requested one, else the current one. Raises Invalid."""
    if version_id is None:
        return current(db, agent_id)
    found = row(db, VERSION, (version_id, agent_id), of=AgentVersion)
    if found is None:
        raise Invalid.field("versionId", "this agent has no such version")
    return found


def one_version(db: Database, agent_id: str, version_id: str) -> AgentVersion:
    found = row(db, VERSION, (version_id, agent_id), of=AgentVersion)
    if found is None:
        raise NotFound(f"There is no version {version_id} of this agent.")
    return found


def page(db: Database, account_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    wanted = {"account": account_id, "after": after, "limit": limit}
    return rows(db, PAGE_UP if ascending else PAGE_DOWN, wanted)


def versions(db: Database, agent_id: str, limit: int, after: int, ascending: bool) -> list[AgentVersion]:
    return rows(db, VERSIONS_UP if ascending else VERSIONS_DOWN, (agent_id, after, limit), of=AgentVersion)


def reference_files(
    db: Database, version_id: str, limit: int = ALL, after: int = 0, ascending: bool = True
) -> list[Row]:
    """The files of a version. `number` is the position, from 1."""
    return rows(db, FILES_UP if ascending else FILES_DOWN, (version_id, after, limit))


# Writing


def create(context: Context, account_id: str, body: schemas.CreateAgentRequest) -> Row:
    db, now = context.db, context.now()
    with db.atomic():
        place = _place(db, account_id, body, None, body.name, now)
        if place is None:
            place = containers.current(db, "ctr_standard_coding")["id"]
        id = _insert(db, account_id, body.name, body.description or "", now)
        defaults = {"outputPolicy": {"mode": "any"}, "runtimeRegion": "any", **body.defaults.stored()}
        content = Content(place, body.base_prompt, defaults, body.defaults.provider_api_key, skills(body.skills), [])
        _add_version(db, context.vault, id, content, now)
        return owned(db, account_id, id)


def update(context: Context, account_id: str, agent_id: str, body: schemas.UpdateAgentRequest) -> Row:
    """Changes the agent. A change of its execution adds a version; a new name or description does not."""
    db, vault, now = context.db, context.vault, context.now()
    with db.atomic():
        agent = _alive(custom(db, account_id, agent_id))
        db.conn.execute(
            "UPDATE agents SET name = coalesce(?, name), description = coalesce(?, description) WHERE id = ?",
            (body.name, body.description, agent_id),
        )
        old = _content(db, vault, current(db, agent_id))
        place = _place(db, account_id, body, old.container_version_id, body.name or agent["name"], now)
        defaults, key = _merged(old, body.defaults)
        new = replace(
            old,
            container_version_id=place or old.container_version_id,
            base_prompt=old.base_prompt if body.base_prompt is None else body.base_prompt,
            defaults=defaults,
            key=key,
            skills=old.skills if body.skills is None else skills(body.skills),
        )
        if new != old:
            _add_version(db, vault, agent_id, new, now)
        return owned(db, account_id, agent_id)


def attach(context: Context, account_id: str, agent_id: str, file_ids: list[str]) -> Row:
    """Adds reference files in a new version. Does nothing if all are attached already."""
    db, vault, now = context.db, context.vault, context.now()
    with db.atomic():
        _alive(custom(db, account_id, agent_id))
        files.owned(db, account_id, file_ids, "fileIds")
        old = _content(db, vault, current(db, agent_id))
        new = replace(old, file_ids=list(dict.fromkeys(old.file_ids + file_ids)))
        if len(new.file_ids) > MAX_REFERENCE_FILES:
            raise Invalid.field("fileIds", f"an agent has {MAX_REFERENCE_FILES} reference files at most")
        if new != old:
            _add_version(db, vault, agent_id, new, now)
        return owned(db, account_id, agent_id)


def detach(context: Context, account_id: str, agent_id: str, file_id: str) -> None:
    """Removes a reference file in a new version. Raises NotFound."""
    db, vault, now = context.db, context.vault, context.now()
    with db.atomic():
        _alive(custom(db, account_id, agent_id))
        old = _content(db, vault, current(db, agent_id))
        if file_id not in old.file_ids:
            raise NotFound(f"{file_id} is not a reference file of this agent.")
        new = replace(old, file_ids=[id for id in old.file_ids if id != file_id])
        _add_version(db, vault, agent_id, new, now)


def archive(db: Database, account_id: str, agent_id: str, now: datetime) -> None:
    """Archives the agent. Does nothing if it is archived."""
    with db.atomic():
        custom(db, account_id, agent_id)
        db.conn.execute("UPDATE agents SET archived_at = ? WHERE id = ? AND archived_at IS NULL", (iso(now), agent_id))


def fork(context: Context, account_id: str, agent_id: str, body: schemas.ForkResourceRequest) -> Row:
    """Copies a standard agent into the account, without a key. Raises NotFound for other agents."""
    db, vault, now = context.db, context.vault, context.now()
    with db.atomic():
        origin = owned(db, account_id, agent_id)
        if origin["account_id"] is not None:
            raise NotFound("Only standard agents can be forked.")
        description = origin["description"] if body.description is None else body.description
        id = _insert(db, account_id, body.name or origin["name"], description, now)
        _add_version(db, vault, id, replace(_content(db, vault, current(db, agent_id)), key=None), now)
        return owned(db, account_id, id)


def _alive(agent: Row) -> Row:
    if agent["archived_at"] is not None:
        raise Conflict("An archived agent can't be changed. Make a new one.")
    return agent


def _place(
    db: Database, account_id: str, body: schemas.AgentContainer, before: str | None, name: str, now: datetime
) -> str | None:
    """The container version that `body` asks for; None if it asks for none."""
    if body.runtime is not None:
        return containers.for_image(db, account_id, name, body.runtime, before, now)
    if body.container_version_id is not None and body.container_version_id == before and body.container_id is None:
        return before  # allowed even if the container has been archived since
    if body.container_id is not None or body.container_version_id is not None:
        return str(containers.choose(db, account_id, body.container_id, body.container_version_id)["id"])
    return None


def _merged(old: Content, given: schemas.UpdateAgentDefaults | None) -> tuple[dict[str, Any], str | bytes | None]:
    """The defaults with the given changes, and the key. A change of the provider drops the key."""
    if given is None:
        return old.defaults, old.key
    gone = {to_camel(name) for name in given.model_fields_set & schemas.REMOVABLE if getattr(given, name) is None}
    kept = {name: value for name, value in old.defaults.items() if name not in gone}
    defaults = {**kept, **given.stored()}
    if given.limits is not None:
        defaults["limits"] = {**old.defaults.get("limits", {}), **defaults["limits"]}
    soft = defaults.get("softFinishAfterSeconds")
    if soft is not None and soft >= defaults["maxRuntimeSeconds"]:
        raise Invalid.field("defaults.softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
    if defaults.get("allowedHosts") and defaults["internetAccess"]:
        raise Invalid.field("defaults.allowedHosts", schemas.ALLOWED_AND_OPEN)
    if "provider_api_key" in given.model_fields_set:
        return defaults, given.provider_api_key
    same = defaults.get("provider") == old.defaults.get("provider")
    return defaults, old.key if same else None


def skills(given: list[schemas.SkillRequest] | None) -> list[dict[str, Any]]:
    for skill in given or ():
        if skill.ssh_key_id is not None:
            raise Unsupported("skills: sshKeyId is not supported. Name a repository that needs no key.")
    return [{"skill": skill.skill} for skill in given or ()]


def _content(db: Database, vault: Vault | None, version: AgentVersion) -> Content:
    sealed = version["provider_api_key"]
    attached = rows(
        db, "SELECT file_id FROM agent_version_files WHERE agent_version_id = ? ORDER BY position", (version["id"],)
    )
    return Content(
        container_version_id=version["container_version_id"],
        base_prompt=version["base_prompt"],
        defaults=json.loads(version["defaults"]),
        key=sealed if sealed is None or vault is None else vault.unseal(sealed) or sealed,
        skills=json.loads(version["skills"]),
        file_ids=[entry["file_id"] for entry in attached],
    )


def _insert(db: Database, account_id: str, name: str, description: str, now: datetime) -> str:
    id = db.ids.new("agt")
    db.conn.execute(
        "INSERT INTO agents (id, account_id, name, description, created_at) VALUES (?, ?, ?, ?, ?)",
        (id, account_id, name, description, iso(now)),
    )
    return id


def _sealed(vault: Vault | None, key: str | bytes | None) -> bytes | None:
    """The encrypted key. Only standard agents, which have no key, are written without a vault."""
    if not isinstance(key, str):
        return key
    if vault is None:
        raise TypeError("a key is stored encrypted, which takes a vault")
    return vault.seal(key)


def _add_version(db: Database, vault: Vault | None, agent_id: str, content: Content, now: datetime) -> None:
    id = db.ids.new("agtv", agent_id)
    db.conn.execute(
        "INSERT INTO agent_versions (id, agent_id, number, container_version_id, base_prompt, defaults,"
        " provider_api_key, skills, created_at)"
        " SELECT ?, ?, coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ? FROM agent_versions WHERE agent_id = ?",
        (
            id,
            agent_id,
            content.container_version_id,
            content.base_prompt,
            dumps(content.defaults),
            _sealed(vault, content.key),
            dumps(content.skills),
            iso(now),
            agent_id,
        ),
    )
    for position, file_id in enumerate(content.file_ids, 1):
        sql = "INSERT INTO agent_version_files (agent_version_id, position, file_id) VALUES (?, ?, ?)"
        db.conn.execute(sql, (id, position, file_id))


# In the API


def shape(db: Database, agent: Row) -> schemas.Agent:
    newest = version_shape(db, current(db, agent["id"]))
    return schemas.Agent(
        id=agent["id"],
        name=agent["name"],
        description=agent["description"],
        is_standard=agent["account_id"] is None,
        archived_at=agent["archived_at"],
        runtime=newest.runtime,
        current_version=newest,
        created_at=agent["created_at"],
    )


def version_shape(db: Database, version: AgentVersion) -> schemas.AgentVersion:
    container = containers.version(db, version["container_version_id"])
    return schemas.AgentVersion(
        id=version["id"],
        number=version["number"],
        container_version_id=version["container_version_id"],
        runtime=schemas.RuntimeStatus(
            container_image=container["image"],
            agent_runtime="pi",
            writable_paths=json.loads(container["writable_paths"]),
        ),
        base_prompt=version["base_prompt"],
        defaults=_defaults_shape(version),
        skills=[schemas.Skill(skill=skill["skill"]) for skill in json.loads(version["skills"])],
        created_at=version["created_at"],
    )


def _defaults_shape(version: AgentVersion) -> schemas.AgentVersionDefaults:
    defaults = json.loads(version["defaults"])
    return schemas.AgentVersionDefaults(
        has_provider_api_key=version["provider_api_key"] is not None, **task_fields.by_name(defaults)
    )
