"""Keys as files and secret stores give them: stripped, refused where they are entered, and never shown."""

import pytest

from agentcontainer_local.errors import Invalid
from agentcontainer_local.store import accounts
from tests.conftest import set_context
from tests.unit.test_api_account import providers

SECRETS = ("sk-secret-0123456789 two", "sk-secret-0123456789\nline", "sk-sécret-0123456789", "sk-secret-\x000123456789")


@pytest.mark.parametrize("end", ["\n", "\r\n", "  ", "\t"])
async def test_a_key_is_stripped_wherever_it_is_entered(client, host, end):
    key = "sk-secret-0123456789"
    assert (await client.put("/providers/openai", json={"apiKey": key + end})).status_code == 200
    stored = accounts.provider(host.context, accounts.only(host.db)["id"], "openai")
    set_context(host, environ={"ANTHROPIC_API_KEY": end + key + end})
    of_environment = accounts.provider(host.context, accounts.only(host.db)["id"], "anthropic")
    assert (stored.api_key, of_environment.api_key) == (key, key)
    body = {"instructions": "x", "overrides": {"provider": "openai", "model": "m", "providerApiKey": key + end}}
    assert (await client.post("/agents/agt_standard_coding/tasks", json=body)).status_code == 201


@pytest.mark.parametrize("key", SECRETS)
async def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(client, key):
    before = await providers(client)
    body = {"instructions": "x", "overrides": {"provider": "openai", "model": "m", "providerApiKey": key}}
    for answer in (
        await client.put("/providers/openai", json={"apiKey": key}),
        await client.post("/agents/agt_standard_coding/tasks", json=body),
    ):
        assert answer.status_code == 422
        assert "0123456789" not in answer.text
    assert await providers(client) == before
    if "\0" not in key:
        with pytest.raises(Invalid) as refused:
            accounts.check_environment({"OPENAI_API_KEY": key})
        assert "OPENAI_API_KEY" in str(refused.value) and "0123456789" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTCONTAINER_OPENAI_BASE_URL", "127.0.0.1:11434"),
        ("AGENTCONTAINER_OPENAI_API", "soap"),
        ("AGENTCONTAINER_OPENAI_CONTEXT_WINDOW", "16k"),
        ("AGENTCONTAINER_OPENAI_IMAGES", "perhaps"),
    ],
)
def test_a_variable_that_makes_no_sense_stops_the_start(name, value):
    with pytest.raises(Invalid) as refused:
        accounts.check_environment({name: value})
    assert name in str(refused.value)
