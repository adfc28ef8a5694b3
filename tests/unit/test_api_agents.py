"""Agents, from outside: every operation and status code of the reference, versions, keys, reference files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.store import agents

FIELDS = {"id", "name", "description", "isStandard", "archivedAt", "currentVersion", "createdAt", "runtime"}
VERSION_FIELDS = {"id", "number", "containerVersionId", "basePrompt", "defaults", "createdAt", "runtime", "skills"}
DEFAULT_FIELDS = {
    "provider",
    "hasProviderApiKey",
    "model",
    "internetAccess",
    "maxRuntimeSeconds",
    "outputPolicy",
    "runtimeRegion",
    "weakModel",
    "softFinishAfterSeconds",
    "allowedHosts",
    "limits",
    "isolation",
    "maxCostUsd",
    "maxTokens",
}
WALLS = {"allowedHosts": [], "limits": {}, "isolation": "container", "maxCostUsd": None, "maxTokens": None}
DEFAULTS = {"model": "claude-sonnet-4-5", "internetAccess": False, "maxRuntimeSeconds": 600}
NAMED = {"mode": "named", "files": [{"name": "report", "description": "the report"}, {"name": "data"}]}


async def create(client, **body) -> dict:
    answer = await client.post("/agents", json={"name": "mine", "basePrompt": "p", "defaults": DEFAULTS, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def patch(client, agent: dict, **body) -> dict:
    answer = await client.patch(f"/agents/{agent['id']}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def versions(client, id: str) -> list[dict]:
    return (await client.get(f"/agents/{id}/versions")).json()["data"]


def key_of(host, agent: dict) -> str | None:
    sealed = agents.current(host.db, agent["id"])["provider_api_key"]
    return None if sealed is None else host.vault.unseal(sealed)


async def test_the_standard_agents_stand_on_their_containers(client):
    listed = (await client.get("/agents")).json()["data"]
    assert {entry["id"] for entry in listed} == {"agt_standard_coding", "agt_standard_data", "agt_standard_documents"}
    for entry in listed:
        container = (await client.get(f"/containers/{entry['id'].replace('agt', 'ctr')}")).json()
        assert entry["isStandard"]
        assert entry["currentVersion"]["containerVersionId"] == container["currentVersion"]["id"]
        assert entry["currentVersion"]["defaults"]["internetAccess"] is False


async def test_an_agent_has_the_fields_of_the_reference_and_the_later_ones(client):
    made = await create(
        client,
        description="d",
        containerId="ctr_standard_data",
        skills=[{"skill": "a/b"}],
        defaults={
            **DEFAULTS,
            "provider": "openai",
            "providerApiKey": "sk-1",
            "weakModel": "small",
            "softFinishAfterSeconds": 500,
            "outputPolicy": NAMED,
            "runtimeRegion": "eu",
        },
    )
    assert set(made) == FIELDS
    version = made["currentVersion"]
    assert set(version) == VERSION_FIELDS
    assert version["defaults"] == {
        "provider": "openai",
        "hasProviderApiKey": True,
        "model": "claude-sonnet-4-5",
        "weakModel": "small",
        "internetAccess": False,
        "maxRuntimeSeconds": 600,
        "softFinishAfterSeconds": 500,
        "outputPolicy": NAMED,
        "runtimeRegion": "eu",
        **WALLS,
    }
    assert (version["number"], version["basePrompt"], version["skills"]) == (1, "p", [{"skill": "a/b"}])
    assert made["runtime"] == version["runtime"] == {"containerImage": None, "agentRuntime": "pi"}
    assert (await client.get(f"/agents/{made['id']}")).json() == made
    assert (await client.get(f"/agents/{made['id']}/versions/{version['id']}")).json() == version


async def test_what_is_not_said_has_its_default(client):
    made = await create(client)
    assert set(made["currentVersion"]["defaults"]) == DEFAULT_FIELDS
    assert made["currentVersion"]["defaults"] == {
        "provider": None,
        "hasProviderApiKey": False,
        "model": "claude-sonnet-4-5",
        "weakModel": None,
        "internetAccess": False,
        "maxRuntimeSeconds": 600,
        "softFinishAfterSeconds": None,
        "outputPolicy": {"mode": "any"},
        "runtimeRegion": "any",
        **WALLS,
    }
    coding = (await client.get("/containers/ctr_standard_coding")).json()["currentVersion"]["id"]
    assert made["currentVersion"]["containerVersionId"] == coding


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": None}, "name"),
        ({"basePrompt": None}, "basePrompt"),
        ({"defaults": None}, "defaults"),
        ({"defaults": {**DEFAULTS, "model": None}}, "defaults.model"),
        ({"defaults": {**DEFAULTS, "model": "--help"}}, "defaults.model"),
        ({"defaults": {**DEFAULTS, "internetAccess": "no"}}, "defaults.internetAccess"),
        ({"defaults": {**DEFAULTS, "maxRuntimeSeconds": 0}}, "defaults.maxRuntimeSeconds"),
        ({"defaults": {**DEFAULTS, "maxRuntimeSeconds": 604_801}}, "defaults.maxRuntimeSeconds"),
        ({"defaults": {**DEFAULTS, "maxRuntimeSeconds": 1.5}}, "defaults.maxRuntimeSeconds"),
        ({"defaults": {**DEFAULTS, "softFinishAfterSeconds": 600}}, "defaults.softFinishAfterSeconds"),
        ({"defaults": {**DEFAULTS, "provider": "acme"}}, "defaults.provider"),
        ({"defaults": {**DEFAULTS, "runtimeRegion": "us"}}, "defaults.runtimeRegion"),
        ({"defaults": {**DEFAULTS, "outputPolicy": {"mode": "some"}}}, "defaults.outputPolicy"),
        ({"defaults": {**DEFAULTS, "outputPolicy": {"mode": "any", "files": []}}}, "defaults.outputPolicy.files"),
        ({"defaults": {**DEFAULTS, "outputPolicy": {"mode": "named"}}}, "defaults.outputPolicy.files"),
        ({"defaults": {**DEFAULTS, "outputPolicy": {"mode": "named", "files": []}}}, "defaults.outputPolicy.files"),
        (
            {"defaults": {**DEFAULTS, "outputPolicy": {"mode": "named", "files": [{"name": "a=b"}]}}},
            "defaults.outputPolicy.files.0.name",
        ),
        (
            {"defaults": {**DEFAULTS, "outputPolicy": {"mode": "named", "files": [{"name": "a"}] * 2}}},
            "defaults.outputPolicy.files",
        ),
        ({"containerId": "ctr_none"}, "containerId"),
        ({"containerVersionId": "ctrv_none"}, "containerVersionId"),
        ({"runtime": {"containerImage": "alpine"}}, "runtime.agentRuntime"),
        ({"runtime": {"containerImage": "alpine", "agentRuntime": "codex"}}, "runtime.agentRuntime"),
        (
            {"runtime": {"containerImage": "alpine", "agentRuntime": "pi"}, "containerId": "ctr_standard_data"},
            "runtime",
        ),
        ({"skills": [{"skill": ""}]}, "skills.0.skill"),
        ({"temperature": 1}, "temperature"),
    ],
)
async def test_an_agent_that_makes_no_sense_is_refused_by_the_field(client, body, field):
    answer = await client.post("/agents", json={"name": "x", "basePrompt": "p", "defaults": DEFAULTS, **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert [fault["field"] for fault in answer.json()["error"]["fields"]] == [field]
    assert len((await client.get("/agents")).json()["data"]) == 3


async def test_skills_with_an_ssh_key_are_not_supported(client):
    answer = await client.post(
        "/agents",
        json={
            "name": "x",
            "basePrompt": "p",
            "defaults": DEFAULTS,
            "skills": [{"skill": "a/b", "sshKeyId": "k"}],
        },
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unsupported")


# Versions


async def test_another_name_makes_no_version_and_another_prompt_does(client):
    made = await create(client)
    assert (await patch(client, made, name="new", description="d"))["currentVersion"] == made["currentVersion"]
    assert (await patch(client, made, basePrompt="p", defaults=DEFAULTS))["currentVersion"] == made["currentVersion"]
    changed = await patch(client, made, basePrompt="q")
    assert (changed["currentVersion"]["number"], changed["currentVersion"]["basePrompt"]) == (2, "q")
    assert [entry["number"] for entry in await versions(client, made["id"])] == [2, 1]
    first = await client.get(f"/agents/{made['id']}/versions/{made['currentVersion']['id']}")
    assert first.json() == made["currentVersion"]


async def test_defaults_are_merged(client):
    made = await create(client, defaults={**DEFAULTS, "weakModel": "small", "outputPolicy": NAMED})
    defaults = (await patch(client, made, defaults={"maxRuntimeSeconds": 700}))["currentVersion"]["defaults"]
    assert defaults == {**made["currentVersion"]["defaults"], "maxRuntimeSeconds": 700}
    defaults = (await patch(client, made, defaults={"outputPolicy": {"mode": "none"}}))["currentVersion"]["defaults"]
    assert defaults["outputPolicy"] == {"mode": "none"}


async def test_a_soft_limit_that_the_merge_puts_past_the_hard_one_is_refused(client):
    made = await create(client, defaults={**DEFAULTS, "softFinishAfterSeconds": 500})
    answer = await client.patch(f"/agents/{made['id']}", json={"name": "x", "defaults": {"maxRuntimeSeconds": 400}})
    assert answer.status_code == 422
    assert answer.json()["error"]["fields"][0]["field"] == "defaults.softFinishAfterSeconds"
    assert (await client.get(f"/agents/{made['id']}")).json() == made


CHANGES = {
    "basePrompt": ["p", "q"],
    "model": ["m", "n"],
    "key": ["k", "l", None],
    "provider": ["openai", "anthropic"],
    "skills": [[], [{"skill": "a/b"}]],
    "containerId": ["ctr_standard_coding", "ctr_standard_data"],
}


def as_patch(change: dict) -> dict:
    names = {"model": "model", "provider": "provider", "key": "providerApiKey"}
    defaults = {names[name]: value for name, value in change.items() if name in names}
    return {
        **{name: value for name, value in change.items() if name not in names},
        **({"defaults": defaults} if defaults else {}),
    }


@settings(max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHANGES.items()}),
        max_size=8,
    )
)
async def test_there_is_a_version_for_each_change_of_execution_and_no_other(client, host, changes):
    made = await create(client, defaults={**DEFAULTS, "model": "m"})
    state = {
        "basePrompt": "p",
        "model": "m",
        "key": None,
        "provider": None,
        "skills": [],
        "containerId": "ctr_standard_coding",
    }
    number = 1
    for change in changes:
        after = {**state, **change}
        if "key" not in change and after["provider"] != state["provider"]:
            after["key"] = None
        number += after != state
        state = after
        now = (await patch(client, made, **as_patch(change)))["currentVersion"]
        assert now["number"] == number
        assert key_of(host, made) == state["key"]
        assert now["defaults"]["hasProviderApiKey"] == (state["key"] is not None)
    assert [entry["number"] for entry in await versions(client, made["id"])] == list(range(number, 0, -1))


# Keys


async def test_a_provider_key_is_in_no_answer_and_encrypted_at_rest(client, host):
    secret = "sk-ant-very-secret"
    made = await create(client, defaults={**DEFAULTS, "providerApiKey": secret})
    for path in ("/agents", f"/agents/{made['id']}", f"/agents/{made['id']}/versions"):
        assert secret not in (await client.get(path)).text
    host.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in (host.settings.data / "agentcontainer.db").read_bytes()
    assert key_of(host, made) == secret


async def test_a_key_stays_until_it_is_removed_or_its_provider_changes(client, host):
    made = await create(client, defaults={**DEFAULTS, "provider": "openai", "providerApiKey": "k"})
    await patch(client, made, defaults={"model": "other"})
    assert key_of(host, made) == "k"
    await patch(client, made, defaults={"provider": "openai"})
    assert key_of(host, made) == "k"
    await patch(client, made, defaults={"provider": "anthropic"})
    assert key_of(host, made) is None
    await patch(client, made, defaults={"provider": "openai", "providerApiKey": "l"})
    await patch(client, made, defaults={"providerApiKey": None})
    assert key_of(host, made) is None


async def test_null_takes_away_what_an_agent_need_not_have_and_leaves_the_rest(client):
    more = {"weakModel": "w", "softFinishAfterSeconds": 60, "maxCostUsd": 2, "maxTokens": 9000}
    made = await create(client, defaults={**DEFAULTS, "provider": "openai", **more})
    nothing = dict.fromkeys([*more, "provider", "model", "maxRuntimeSeconds", "internetAccess", "outputPolicy"])
    first, now = made["currentVersion"]["defaults"], (await patch(client, made, defaults=nothing))["currentVersion"]
    assert now["number"] == 2 and now["defaults"] == {**first, **dict.fromkeys(more)}
    assert (await patch(client, made, defaults=nothing))["currentVersion"]["number"] == 2


# Where it runs


async def test_a_container_version_can_be_pinned(client):
    container = (await client.post("/containers", json={"name": "c"})).json()
    old = container["currentVersion"]["id"]
    new = (await client.patch(f"/containers/{container['id']}", json={"containerImage": "alpine"})).json()
    newest = await create(client, containerId=container["id"])
    assert newest["currentVersion"]["containerVersionId"] == new["currentVersion"]["id"]
    assert newest["runtime"]["containerImage"] == "alpine"
    for pinned in ({"containerVersionId": old}, {"containerVersionId": old, "containerId": container["id"]}):
        assert (await create(client, **pinned))["currentVersion"]["containerVersionId"] == old
    answer = await client.patch(
        f"/agents/{newest['id']}", json={"containerVersionId": old, "containerId": "ctr_standard_data"}
    )
    assert answer.status_code == 422


async def test_an_agent_stays_on_its_containers_version_until_it_is_told(client):
    container = (await client.post("/containers", json={"name": "c"})).json()
    made = await create(client, containerId=container["id"])
    await client.patch(f"/containers/{container['id']}", json={"containerPreset": "data-processing"})
    assert (await client.get(f"/agents/{made['id']}")).json() == made
    moved = await patch(client, made, containerId=container["id"])
    assert moved["currentVersion"]["number"] == 2


async def test_an_archived_container_takes_no_new_agents_and_keeps_its_old_ones(client):
    container = (await client.post("/containers", json={"name": "c"})).json()
    made = await create(client, containerId=container["id"])
    await client.delete(f"/containers/{container['id']}")
    answer = await client.post(
        "/agents", json={"name": "x", "basePrompt": "", "defaults": DEFAULTS, "containerId": container["id"]}
    )
    assert answer.status_code == 422
    version = made["currentVersion"]["containerVersionId"]
    assert (await patch(client, made, containerVersionId=version))["currentVersion"] == made["currentVersion"]


async def test_a_runtime_is_a_container_version_of_ones_own_and_in_no_list(client):
    runtime = {"containerImage": "docker.io/library/alpine:3", "agentRuntime": "pi"}
    made = await create(client, runtime=runtime)
    assert made["runtime"] == runtime
    assert len((await client.get("/containers")).json()["data"]) == 3
    assert (await patch(client, made, runtime=runtime))["currentVersion"] == made["currentVersion"]
    changed = await patch(client, made, runtime={**runtime, "containerImage": "debian:12"})
    assert (changed["runtime"]["containerImage"], changed["currentVersion"]["number"]) == ("debian:12", 2)
    old = await client.get(f"/agents/{made['id']}/versions/{made['currentVersion']['id']}")
    assert old.json()["runtime"] == runtime


async def test_a_container_of_somebody_else_cannot_be_used(client, stranger):
    other = (await stranger.post("/containers", json={"name": "c"})).json()
    for body in ({"containerId": other["id"]}, {"containerVersionId": other["currentVersion"]["id"]}):
        answer = await client.post("/agents", json={"name": "x", "basePrompt": "", "defaults": DEFAULTS, **body})
        assert answer.status_code == 422


# Archive and fork


async def test_an_archived_agent_is_listed_and_answered_and_takes_no_change_and_no_task(client):
    made = await create(client)
    path = f"/agents/{made['id']}"
    for _ in range(2):
        assert (await client.delete(path)).status_code == 204
    kept = (await client.get(path)).json()
    assert kept["archivedAt"] == "2026-03-25T09:30:00.000Z"
    assert made["id"] in [entry["id"] for entry in (await client.get("/agents")).json()["data"]]
    refused = [
        await client.patch(path, json={"name": "x"}),
        await client.post(f"{path}/tasks", json={"instructions": "x", "overrides": {"model": "scripted"}}),
    ]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert (await client.get(path)).json() == kept
    assert (await client.get(f"{path}/tasks")).json()["data"] == []


async def test_standard_agents_cannot_be_changed(client, upload):
    path = "/agents/agt_standard_data"
    before = (await client.get(path)).json()
    file_id = await upload(b"x")
    for answer in (
        await client.patch(path, json={"name": "x"}),
        await client.delete(path),
        await client.post(f"{path}/reference-files", json={"fileIds": [file_id]}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert (await client.get(path)).json() == before


async def test_a_fork_is_ones_own_and_starts_with_a_first_version(client):
    answer = await client.post("/agents/agt_standard_data/fork", json={"name": "mine"})
    assert answer.status_code == 201
    fork = answer.json()
    origin = (await client.get("/agents/agt_standard_data")).json()
    assert (fork["name"], fork["isStandard"], fork["currentVersion"]["number"]) == ("mine", False, 1)
    same = ("containerVersionId", "basePrompt", "defaults", "skills")
    assert all(fork["currentVersion"][name] == origin["currentVersion"][name] for name in same)
    assert (await client.post(f"/agents/{fork['id']}/fork")).status_code == 404


async def test_what_is_unknown_or_somebody_elses_does_not_exist(client, stranger, upload):
    made, other = await create(client), await create(stranger)
    file_id = await upload(b"x")
    task = {"instructions": "x", "overrides": {"model": "scripted"}}
    for id in ("agt_none", other["id"]):
        for verb, path, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/fork", {}),
            ("GET", "/versions", None),
            ("GET", f"/versions/{made['currentVersion']['id']}", None),
            ("GET", "/reference-files", None),
            ("POST", "/reference-files", {"fileIds": [file_id]}),
            ("DELETE", f"/reference-files/{file_id}", None),
            ("GET", "/tasks", None),
            ("POST", "/tasks", task),
        ):
            answer = await client.request(verb, f"/agents/{id}{path}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (verb, path)
    for version in ("agtv_none", other["currentVersion"]["id"]):
        assert (await client.get(f"/agents/{made['id']}/versions/{version}")).status_code == 404
    assert (await stranger.get(f"/agents/{other['id']}")).json() == other


# Reference files


async def attached(client, agent: dict, **query) -> list[str]:
    answer = await client.get(f"/agents/{agent['id']}/reference-files", params=query)
    return [entry["id"] for entry in answer.json()["data"]]


async def test_attaching_files_makes_a_version_and_attaching_them_again_does_not(client, upload):
    made = await create(client)
    path = f"/agents/{made['id']}/reference-files"
    one, two = await upload(b"1", "a.md"), await upload(b"2", "b.md")
    first = await client.post(path, json={"fileIds": [one]})
    assert (first.status_code, first.json()["currentVersion"]["number"]) == (200, 2)
    assert set(first.json()) == FIELDS
    again = await client.post(path, json={"fileIds": [one, one]})
    assert again.json() == first.json()
    both = await client.post(path, json={"fileIds": [one, two]})
    assert both.json()["currentVersion"]["number"] == 3
    assert await attached(client, made) == [two, one]
    assert await attached(client, made, order="asc", limit=1) == [one]
    assert await patch(client, made, basePrompt="q")
    assert await attached(client, made, order="asc") == [one, two]


async def test_a_reference_file_can_be_taken_away(client, upload):
    made = await create(client)
    file_id = await upload(b"1")
    path = f"/agents/{made['id']}/reference-files"
    await client.post(path, json={"fileIds": [file_id]})
    assert (await client.delete(f"{path}/{file_id}")).status_code == 204
    assert await attached(client, made) == []
    assert (await client.delete(f"{path}/{file_id}")).status_code == 404
    assert [entry["number"] for entry in await versions(client, made["id"])] == [3, 2, 1]
    assert (await client.delete(f"/files/{file_id}")).status_code == 409, "version 2 still needs it"


@pytest.mark.parametrize("body", [{}, {"fileIds": []}, {"fileIds": None}, {"fileIds": ["file_none"]}, {"fileIds": [1]}])
async def test_files_that_do_not_exist_cannot_be_attached(client, upload, body):
    made = await create(client)
    answer = await client.post(f"/agents/{made['id']}/reference-files", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert (await client.get(f"/agents/{made['id']}")).json() == made


async def test_a_file_of_somebody_else_cannot_be_attached(client, stranger, upload):
    made = await create(client)
    answer = await client.post(
        f"/agents/{made['id']}/reference-files", json={"fileIds": [await upload(b"x"), await upload(b"x", by=stranger)]}
    )
    assert answer.status_code == 422
    assert await attached(client, made) == []


def test_the_standard_ones_get_a_new_version_when_the_program_brings_one(host):
    before = agents.current(host.db, "agt_standard_data")
    agents.ensure_standard(host.db, host.now())
    assert agents.current(host.db, "agt_standard_data") == before
    host.db.conn.execute("UPDATE agent_versions SET base_prompt = 'old' WHERE id = ?", (before["id"],))
    agents.ensure_standard(host.db, host.now())
    now = agents.current(host.db, "agt_standard_data")
    assert (now["number"], now["base_prompt"]) == (2, before["base_prompt"])
