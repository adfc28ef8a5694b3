"""The account, its keys and its provider settings, from outside."""

import dataclasses

import pytest

from agentcontainer_local import app
from agentcontainer_local.errors import Invalid
from agentcontainer_local.store import accounts, db, ledger
from tests.conftest import KEY, calling, set_context


async def test_the_account_has_the_fields_of_the_reference_and_the_later_ones(client):
    account = (await client.get("/account")).json()
    assert set(account) == {
        "id",
        "name",
        "email",
        "creditBalance",
        "billingMode",
        "fileStorage",
        "checkpointStorage",
        "walls",
        "createdAt",
    }
    assert account["billingMode"] == "unlimited_grant"
    assert account["fileStorage"] == {"usedBytes": 0, "quotaBytes": None, "isEnforced": False}


async def test_file_storage_counts_the_bytes_of_the_files(client, upload):
    await upload(b"12345")
    await upload(b"123")
    assert (await client.get("/account")).json()["fileStorage"]["usedBytes"] == 8


async def test_the_balance_is_the_sum_of_the_ledger(client, host):
    account_id = (await client.get("/account")).json()["id"]
    for amount in (10_000_000, -500_000, -1):
        host.db.conn.execute(
            "INSERT INTO ledger (account_id, kind, amount_microusd, created_at) VALUES (?, 'grant', ?, ?)",
            (account_id, amount, db.iso(host.now())),
        )
    assert (await client.get("/account")).json()["creditBalance"] == 9.499999


async def test_a_key_is_shown_once_and_hashed_at_rest(client, host):
    made = await client.post("/keys", json={"name": "laptop"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert accounts.KEY_PATTERN.fullmatch(key)
    async with calling(host, key) as laptop:
        assert (await laptop.get("/account")).status_code == 200
    listed = await client.get("/keys")
    assert [entry["name"] for entry in listed.json()["data"]] == ["laptop", "first"]
    assert key not in listed.text
    host.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert key.encode() not in (host.settings.data / "agentcontainer.db").read_bytes()


async def test_a_key_of_somebody_else_cannot_be_revoked(client, stranger):
    id = (await client.get("/keys")).json()["data"][0]["id"]
    assert (await stranger.delete(f"/keys/{id}")).status_code == 404
    assert (await client.get("/account")).status_code == 200


async def test_revoking_a_key_again_changes_nothing(client, clock):
    id = (await client.post("/keys", json={"name": "x"})).json()["id"]
    await client.delete(f"/keys/{id}")
    clock.advance(60)
    assert (await client.delete(f"/keys/{id}")).status_code == 204
    revoked = next(entry for entry in (await client.get("/keys")).json()["data"] if entry["id"] == id)
    assert revoked["revokedAt"] == "2026-03-25T09:30:00.000Z"
    assert (await client.delete("/keys/key_none")).status_code == 404


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": " "}, {"name": 1}, {"name": "x" * 201}, {"nam": "x"}])
async def test_a_key_needs_a_name(client, body):
    assert (await client.post("/keys", json=body)).status_code == 422


async def providers(client) -> dict:
    return {entry["provider"]: entry for entry in (await client.get("/providers")).json()["data"]}


async def test_a_provider_key_is_encrypted_at_rest_and_in_no_answer(client, host):
    secret = "sk-ant-very-secret"
    answer = await client.put("/providers/anthropic", json={"apiKey": secret})
    assert answer.json() == {
        "provider": "anthropic",
        "hasApiKey": True,
        "baseUrl": "https://api.anthropic.com",
        "isDefault": True,
        "source": "store",
        "api": None,
        "models": [],
    }
    assert secret not in (await client.get("/providers")).text
    host.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in (host.settings.data / "agentcontainer.db").read_bytes()
    account_id = (await client.get("/account")).json()["id"]
    assert accounts.provider(host.context, account_id, "anthropic").api_key == secret


async def test_what_is_not_given_stays_and_delete_forgets_all(client):
    await client.put("/providers/openai", json={"apiKey": "k", "baseUrl": "http://127.0.0.1:11434/v1"})
    await client.put("/providers/openai", json={"isDefault": True})
    assert (await providers(client))["openai"] == {
        "provider": "openai",
        "hasApiKey": True,
        "baseUrl": "http://127.0.0.1:11434/v1",
        "isDefault": True,
        "source": "store",
        "api": None,
        "models": [],
    }
    assert (await client.delete("/providers/openai")).status_code == 204
    assert not (await providers(client))["openai"]["hasApiKey"]


async def test_the_default_is_the_one_set_else_the_first_with_a_key(client, host):
    assert [entry["isDefault"] for entry in (await providers(client)).values()] == [False] * 3
    set_context(host, environ={"OPENROUTER_API_KEY": "k"})
    assert (await providers(client))["openrouter"]["isDefault"]
    assert (await providers(client))["openrouter"]["source"] == "environment"
    await client.put("/providers/openai", json={"apiKey": "k"})
    assert (await providers(client))["openai"]["isDefault"]
    await client.put("/providers/openrouter", json={"isDefault": True})
    assert (await providers(client))["openrouter"]["isDefault"]
    await client.put("/providers/openrouter", json={"isDefault": False})
    assert (await providers(client))["openai"]["isDefault"]


async def test_base_urls_come_from_the_environment_too(client, host):
    set_context(host, environ={"AGENTCONTAINER_OPENAI_BASE_URL": "http://127.0.0.1:8080/v1", "OPENAI_API_KEY": ""})
    openai = (await providers(client))["openai"]
    assert (openai["baseUrl"], openai["hasApiKey"]) == ("http://127.0.0.1:8080/v1", False)


@pytest.mark.parametrize(
    "body",
    [
        {"apiKey": "with space"},
        {"apiKey": "line\nbreak"},
        {"apiKey": ""},
        {"baseUrl": "ftp://x"},
        {"baseUrl": "x"},
        {"isDefault": "yes"},
        {"key": "x"},
    ],
)
async def test_provider_settings_that_cannot_work_are_refused(client, body):
    before = await providers(client)
    assert (await client.put("/providers/openai", json=body)).status_code == 422
    assert await providers(client) == before


@pytest.mark.parametrize("given", [{"api_key": "two lines\nof it"}, {"base_url": "localhost:11434"}])
def test_provider_settings_from_the_command_line_are_checked_too(host, given):
    account_id = accounts.only(host.db)["id"]
    with pytest.raises(Invalid):
        accounts.set_provider(host.context, account_id, "openai", **given)
    assert db.row(host.db, "SELECT count(*) AS n FROM providers")["n"] == 0


async def test_there_are_three_providers(client):
    for method in ("PUT", "DELETE"):
        answer = await client.request(method, "/providers/acme", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_provider_settings_are_the_accounts_own(client, stranger):
    await client.put("/providers/openai", json={"apiKey": "k"})
    assert not (await providers(stranger))["openai"]["hasApiKey"]


def test_the_first_start_takes_the_key_from_the_environment_and_later_ones_leave_it(host):
    assert accounts.authenticated(host.db, accounts.key_hash(KEY)) is not None
    again, key = accounts.ensure(
        dataclasses.replace(host.context, environ={"AGENTCONTAINER_API_KEY": "ac_live_" + "z" * 24})
    )
    assert key is None
    assert accounts.authenticated(host.db, accounts.key_hash("ac_live_" + "z" * 24)) is None
    assert accounts.only(host.db)["id"] == again["id"]


@pytest.mark.parametrize(
    "key",
    [
        "ac_live_short",
        "ac_test_" + "k" * 32,
        "ac_live_" + "k" * 23,
        "ac_live_" + "k" * 30 + "!",
    ],
)
def test_a_key_in_the_environment_that_is_not_one_stops_the_first_start(tmp_path, host, key):
    store = db.open(tmp_path / "other.db")
    with pytest.raises(Invalid, match="AGENTCONTAINER_API_KEY"):
        accounts.ensure(dataclasses.replace(host.context, db=store, environ={"AGENTCONTAINER_API_KEY": key}))
    assert accounts.only(store) is None
    store.close()


def test_prepaid_credit_is_granted_once(tmp_path, host):
    prepaid = host.settings.model_copy(update={"billing": "prepaid", "credit": 10})
    store = db.open(tmp_path / "other.db")
    context = dataclasses.replace(host.context, db=store, settings=prepaid)
    store_id, key = app._first_start(context)
    assert accounts.KEY_PATTERN.fullmatch(key)
    assert app._first_start(context) == (store_id, None)
    account = accounts.only(store)
    assert accounts.shape(store, account, host.settings).credit_balance == 10
    assert [entry["kind"] for entry in ledger.entries(store, account["id"], 10, 0, True)] == ["grant"]
    assert account["billing_mode"] == "standard"
    store.close()


async def test_what_a_providers_models_can_take_is_set_for_all_or_for_one(client):
    await client.put("/providers/openai", json={"api": "chat-completions", "contextWindow": 16_384, "images": False})
    await client.put("/providers/openai", json={"model": "qwen3:8b", "free": True})
    await client.put("/providers/openai", json={"model": "qwen3:8b", "contextWindow": 32_768, "maxOutputTokens": 2000})
    openai = (await providers(client))["openai"]
    assert openai["api"] == "chat-completions"
    nothing = {
        "contextWindow": None,
        "maxOutputTokens": None,
        "images": None,
        "free": None,
        "learnedContextWindow": None,
    }
    assert openai["models"] == [
        {**nothing, "model": None, "contextWindow": 16_384, "images": False},
        {**nothing, "model": "qwen3:8b", "contextWindow": 32_768, "maxOutputTokens": 2000, "free": True},
    ]
    for wrong in ({"api": "soap"}, {"contextWindow": 0}, {"contextWindow": 100}, {"images": "yes"}, {"model": "a b"}):
        assert (await client.put("/providers/openai", json=wrong)).status_code == 422, wrong
    assert (await providers(client))["openai"] == openai
    assert (await client.delete("/providers/openai")).status_code == 204
    assert (await providers(client))["openai"]["models"] == []
