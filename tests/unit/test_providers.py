"""What a new provider touches: the table, and the places that cannot read it."""

import re
from typing import get_args

import pytest

from agentcontainer_local import providers, web
from agentcontainer_local.cli import config
from agentcontainer_local.gateway import routes
from agentcontainer_local.providers import NAMES, PROVIDERS


def test_each_provider_has_a_name_in_the_api_and_the_other_way_round():
    assert list(PROVIDERS) == list(get_args(providers.Name))


def test_the_page_offers_each_provider():
    text = (web.STATIC / "execution.js").read_text()
    assert re.findall(r'\["(\w+)"\]', re.search(r"PROVIDERS = (\[.*\]);", text).group(1)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_gateway_stands_in_for_each_provider_with_every_api(name):
    found = {route.dialect: route.path for route in routes.ROUTES.values() if route.provider == name}
    assert found.keys() >= {"messages", "responses", "completions"}
    assert all(path.startswith(PROVIDERS[name].version + "/") for path in found.values())


def test_the_gateway_has_the_paths_that_sdks_call_and_no_others():
    assert sorted(routes.ROUTES) == [
        b"/anthropic/v1/chat/completions",
        b"/anthropic/v1/messages",
        b"/anthropic/v1/messages/count_tokens",
        b"/anthropic/v1/responses",
        b"/openai/v1/chat/completions",
        b"/openai/v1/messages",
        b"/openai/v1/responses",
        b"/openrouter/api/v1/chat/completions",
        b"/openrouter/api/v1/messages",
        b"/openrouter/api/v1/responses",
        b"/openrouter/v1/messages",
    ]


def test_config_shows_the_variables_of_each_provider():
    for provider in PROVIDERS.values():
        assert provider.key_variable in config.SECRETS
        assert {provider.variable(setting) for setting in providers.SETTINGS} <= set(config.OTHERS)
    assert PROVIDERS["openai"].variable("BASE_URL") == "AGENTCONTAINER_OPENAI_BASE_URL"
