"""What is shown of texts that may hold secrets."""

import pytest

from agentcontainer_local.process.text import without_password


@pytest.mark.parametrize(
    "address",
    [
        "https://user:SECRET@host.example/v1",
        "http://SECRET@host.example",
        "https://user:SECRET@SECRET@host.example/v1",
        "https://host.example/v1?api-key=SECRET",
        "https://u:SECRET@host.example:8080?key=SECRET&b=SECRET#part",
    ],
)
def test_an_address_is_shown_without_the_secrets_in_it(address: str):
    shown = without_password(address)
    assert "SECRET" not in shown and "host.example" in shown


@pytest.mark.parametrize("text", ["https://host.example/@scope/v1", "/srv/what?", "a@b.example", "http://[::1]:80/v1"])
def test_what_holds_no_secret_is_shown_as_it_is(text: str):
    assert without_password(text) == text
