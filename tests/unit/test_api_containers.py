"""Containers, from outside: every operation and status code of the reference, and the laws of versions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.store import containers

FIELDS = {"id", "name", "description", "isStandard", "archivedAt", "currentVersion", "createdAt"}
VERSION_FIELDS = {"id", "number", "containerPreset", "containerImage", "containerContractVersion", "createdAt"}
IMAGE = "docker.io/library/python:3.13-slim"


async def create(client, **body) -> dict:
    answer = await client.post("/containers", json={"name": "mine", **body})
    assert answer.status_code == 201
    return answer.json()


async def versions(client, id: str) -> list[dict]:
    return (await client.get(f"/containers/{id}/versions")).json()["data"]


async def test_the_standard_containers_are_there_for_everybody(client, stranger):
    for caller in (client, stranger):
        listed = (await caller.get("/containers")).json()["data"]
        assert {entry["id"]: entry["currentVersion"]["containerPreset"] for entry in listed} == {
            "ctr_standard_coding": "coding",
            "ctr_standard_data": "data-processing",
            "ctr_standard_documents": "document-analysis",
        }
        assert all(entry["isStandard"] for entry in listed)


async def test_a_container_has_the_fields_of_the_reference(client):
    made = await create(client, description="d", containerImage=IMAGE)
    assert set(made) == FIELDS
    assert set(made["currentVersion"]) == VERSION_FIELDS
    assert made["id"].startswith("ctr_")
    assert (made["name"], made["description"], made["isStandard"], made["archivedAt"]) == ("mine", "d", False, None)
    version = made["currentVersion"]
    assert (version["number"], version["containerImage"], version["containerPreset"]) == (1, IMAGE, None)
    assert version["containerContractVersion"] == "1"
    assert (await client.get(f"/containers/{made['id']}")).json() == made


async def test_neither_preset_nor_image_means_coding_and_null_means_absent(client):
    made = await create(client, containerImage=None, containerPreset=None, description=None)
    assert made["currentVersion"]["containerPreset"] == "coding"
    assert made["description"] == ""


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": None},
        {"name": ""},
        {"name": "x", "containerPreset": "coding", "containerImage": IMAGE},
        {"name": "x", "containerPreset": "gaming"},
        {"name": "x", "containerContractVersion": "2"},
        {"name": "x", "containerImage": "-v /:/host"},
        {"name": "x", "containerImage": ""},
        {"name": "x", "cpu": 4},
    ],
)
async def test_a_container_that_makes_no_sense_is_refused(client, body):
    answer = await client.post("/containers", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert len((await client.get("/containers")).json()["data"]) == 3


async def test_another_image_makes_a_version_and_another_name_does_not(client):
    made = await create(client)
    path = f"/containers/{made['id']}"
    renamed = await client.patch(path, json={"name": "new", "description": "about"})
    assert renamed.status_code == 200
    assert (renamed.json()["name"], renamed.json()["description"]) == ("new", "about")
    assert renamed.json()["currentVersion"] == made["currentVersion"]
    changed = (await client.patch(path, json={"containerImage": IMAGE})).json()
    assert (changed["currentVersion"]["number"], changed["currentVersion"]["containerPreset"]) == (2, None)
    assert [entry["number"] for entry in await versions(client, made["id"])] == [2, 1]
    first = await client.get(f"{path}/versions/{made['currentVersion']['id']}")
    assert first.json() == made["currentVersion"]


@settings(max_examples=25)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["a", "b"]),
                "containerPreset": st.sampled_from(["coding", "data-processing"]),
            },
        ),
        max_size=8,
    )
)
async def test_there_is_a_version_for_each_change_of_execution_and_no_other(client, patches):
    made = await create(client)
    preset, number = "coding", 1
    for patch in patches:
        now = (await client.patch(f"/containers/{made['id']}", json=patch)).json()
        if patch.get("containerPreset", preset) != preset:
            preset, number = patch["containerPreset"], number + 1
        assert (now["currentVersion"]["containerPreset"], now["currentVersion"]["number"]) == (preset, number)
    assert [entry["number"] for entry in await versions(client, made["id"])] == list(range(number, 0, -1))


@pytest.mark.parametrize(
    "body",
    [
        {"containerPreset": "x"},
        {"name": ""},
        {"isStandard": True},
        {"containerPreset": "coding", "containerImage": IMAGE},
    ],
)
async def test_a_patch_that_makes_no_sense_changes_nothing(client, body):
    made = await create(client)
    assert (await client.patch(f"/containers/{made['id']}", json=body)).status_code == 422
    assert (await client.get(f"/containers/{made['id']}")).json() == made


async def test_an_archived_container_is_listed_and_answered_and_takes_no_change(client, clock):
    made = await create(client)
    path = f"/containers/{made['id']}"
    for _ in range(2):
        archived = await client.delete(path)
        assert (archived.status_code, archived.content) == (204, b"")
        clock.advance(60)
    kept = (await client.get(path)).json()
    assert kept["archivedAt"] == "2026-03-25T09:30:00.000Z"
    assert made["id"] in [entry["id"] for entry in (await client.get("/containers")).json()["data"]]
    assert (await client.get(f"{path}/versions/{made['currentVersion']['id']}")).status_code == 200
    assert (await client.patch(path, json={"name": "x"})).status_code == 409
    assert (await client.get(path)).json() == kept


async def test_standard_containers_cannot_be_changed(client):
    path = "/containers/ctr_standard_data"
    before = (await client.get(path)).json()
    for answer in (await client.patch(path, json={"name": "x"}), await client.delete(path)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert (await client.get(path)).json() == before


async def test_a_fork_is_ones_own(client):
    forked = await client.post("/containers/ctr_standard_data/fork", json={"name": "my data", "description": "d"})
    assert forked.status_code == 201
    fork = forked.json()
    assert (fork["name"], fork["description"], fork["isStandard"]) == ("my data", "d", False)
    assert fork["currentVersion"]["containerPreset"] == "data-processing"
    assert (await client.patch(f"/containers/{fork['id']}", json={"name": "y"})).status_code == 200


async def test_a_fork_needs_no_body(client):
    fork = (await client.post("/containers/ctr_standard_data/fork")).json()
    origin = (await client.get("/containers/ctr_standard_data")).json()
    assert (fork["name"], fork["description"]) == (origin["name"], origin["description"])


async def test_only_standard_containers_can_be_forked(client):
    made = await create(client)
    assert (await client.post(f"/containers/{made['id']}/fork", json={})).status_code == 404


async def test_what_is_unknown_or_somebody_elses_does_not_exist(client, stranger):
    made = await create(client)
    other = await create(stranger)
    for id in ("ctr_none", other["id"]):
        for verb, path in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/fork"),
            ("GET", "/versions"),
            ("GET", f"/versions/{made['currentVersion']['id']}"),
        ):
            answer = await client.request(verb, f"/containers/{id}{path}", json={})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (verb, path)
    for version in ("ctrv_none", other["currentVersion"]["id"]):
        assert (await client.get(f"/containers/{made['id']}/versions/{version}")).status_code == 404
    assert (await stranger.get(f"/containers/{other['id']}")).json() == other
    assert other["id"] not in [entry["id"] for entry in (await client.get("/containers")).json()["data"]]


def test_the_standard_ones_are_brought_up_to_date_and_else_left_alone(host):
    before = containers.current(host.db, "ctr_standard_data")
    containers.ensure_standard(host.db, host.now())
    assert containers.current(host.db, "ctr_standard_data") == before
    host.db.conn.execute("UPDATE container_versions SET preset = 'old' WHERE id = ?", (before["id"],))
    containers.ensure_standard(host.db, host.now())
    now = containers.current(host.db, "ctr_standard_data")
    assert (now["number"], now["preset"]) == (2, "data-processing")


async def test_paths_that_the_agent_may_write_to_belong_to_a_version(client):
    made = await create(client, containerImage=IMAGE, writablePaths=["/testbed"])
    path = f"/containers/{made['id']}"
    assert made["currentVersion"]["writablePaths"] == ["/testbed"]
    same = (await client.patch(path, json={"writablePaths": ["/testbed"]})).json()
    assert same["currentVersion"] == made["currentVersion"]
    newer = (await client.patch(path, json={"containerImage": "debian:13"})).json()["currentVersion"]
    assert (newer["number"], newer["writablePaths"]) == (2, ["/testbed"])
    none = (await client.patch(path, json={"writablePaths": []})).json()["currentVersion"]
    assert (none["number"], none["containerImage"], "writablePaths" in none) == (3, "debian:13", False)


@pytest.mark.parametrize(
    "path",
    [
        "testbed",
        "/",
        "",
        "/a/../b",
        "/a/",
        "//a",
        "/proc/1",
        "/dev",
        "/workspace",
        "/opt/agentcontainer/pi",
        "/run",
        "/a\nb",
        "/a\0",
        "/" + "x" * 500,
        7,
    ],
)
async def test_paths_that_make_no_sense_are_refused(client, path):
    answer = await client.post("/containers", json={"name": "x", "containerImage": IMAGE, "writablePaths": [path]})
    assert answer.status_code == 422
