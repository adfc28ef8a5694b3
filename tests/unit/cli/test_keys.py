"""API keys and providers' keys as people have them: with a line ending, with an umlaut. None is ever shown."""

import pytest

from agentcontainer_local.cli.exits import Exit
from tests.conftest import KEY

SECRET = "ac_live_" + "s3cr3t" * 5


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}", "\t{} \n\n"])
def test_an_api_key_is_taken_without_what_is_around_it(cli, monkeypatch, around):
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", around.format(KEY))
    cli("account")


@pytest.mark.parametrize(
    "key",
    [
        SECRET + "ü",
        SECRET + " " + SECRET,
        SECRET + "\n" + SECRET,
        SECRET + "\x7f",
        SECRET + "\udcff",
        SECRET + "“",
        SECRET,
    ],
)
@pytest.mark.parametrize("words", [("account",), ("account", "--json"), ("run", "x"), ("config",), ("chat",)])
def test_no_output_holds_a_key_that_is_wrong(cli, monkeypatch, key, words):
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", key)
    said = cli(*words, code=Exit.DONE if words == ("config",) else Exit.NO_KEY).output
    assert "s3cr3t" not in said and "Traceback" not in said


@pytest.mark.parametrize(
    "key", ["sk-s3cr3t-ü", "sk-s3cr3t two", "sk-s3cr3t\nsk-s3cr3t", "sk-s3cr3t\x00", "“sk-s3cr3t”"]
)
def test_a_providers_key_that_is_none_is_refused_unseen_and_nothing_is_stored(cli, key):
    said = cli("providers", "set", "openai", stdin=key, code=Exit.WRONG_USE).output
    assert "s3cr3t" not in said
    assert "from the store" not in cli("providers", "list").stdout


@pytest.mark.parametrize("around", ["\n{}\n", "{}\r\n", "  {}", "{}"])
def test_a_providers_key_is_taken_without_what_is_around_it(cli, live, around):
    cli("providers", "set", "openai", stdin=around.format("sk-s3cr3t"))
    from agentcontainer_local.store import accounts

    def stored(host) -> str:
        return accounts.provider(host.context, accounts.only(host.db)["id"], "openai").api_key

    assert live.do(stored) == "sk-s3cr3t"


def test_the_password_of_an_address_is_not_shown(cli, monkeypatch):
    monkeypatch.setenv("AGENTCONTAINER_OPENAI_BASE_URL", "https://me:s3cr3t@models.example/v1")
    for words in (("config",), ("config", "--json")):
        said = cli(*words).output
        assert "s3cr3t" not in said and "models.example/v1" in said
