"""Errors of commands: each names the flag to change and the way to mend it."""

import socket

import pytest

from agentcontainer_local.app import _listening
from agentcontainer_local.cli import flags
from agentcontainer_local.cli.exits import Exit
from agentcontainer_local.settings import Settings

IMAGE = ("--image", "localhost/mine:1")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("containers", "create", "x", *IMAGE, "--writable", "relative"), "--writable: "),
        (("providers", "set", "openai", "--context-window", "0"), "--context-window: "),
        (("providers", "set", "openai", "--api", "soap"), "--api: "),
        (("run", "x", "-m", "scripted", "--max-runtime", "0"), "--max-runtime: "),
        (("run", "x", "-m", "scripted", "--allow-host", "h t"), "--allow-host: "),
        (("run", "x", "-m", "scripted", "--max-cost", "-1"), "--max-cost: "),
        (("run", "x", "-m", "scripted", "--expect", "a,a"), "--expect: "),
        (("run", "x", "-m", "gpt", "--provider", "nobody"), "--provider: "),
        (("agents", "create", "x", "-m", "scripted", "--max-runtime", "0"), "--max-runtime: "),
        (("budget", "set", "--max-cost", "-1"), "--max-cost: "),
        (("keys", "create", "x" * 300), "NAME: "),
    ],
)
def test_a_field_at_fault_goes_by_its_flag(cli, words, named):
    said = cli(*words, code=Exit.WRONG_USE, stdin="").stderr
    assert said.startswith(f"agentcontainer: {named}") and said.count("\n") == 1


def test_fields_in_a_sentence_go_by_their_flags(cli):
    said = cli("containers", "create", "x", *IMAGE, "--preset", "coding", code=Exit.WRONG_USE).stderr
    assert "--preset" in said and "--image" in said and "container" not in said.removeprefix("agentcontainer")


def test_a_field_without_a_flag_keeps_its_name():
    own = {"max_runtime": "--max-runtime", "image": "--image"}
    assert flags.flag("overrides.maxRuntimeSeconds", own) == "--max-runtime"
    assert flags.flag("imagery", own) is None
    fault = {"field": "limits.memoryMb", "message": "Must be at least 1"}
    assert flags.explained("", [fault], own) == "limits.memoryMb: Must be at least 1"


@pytest.mark.parametrize(("words", "provider"), [((), "anthropic"), (("--provider", "openai"), "openai")])
def test_a_missing_key_is_explained_by_commands(cli, words, provider):
    """Not by the fields of the API, which a command does not have."""
    said = cli("run", "x", "-m", "some-model", *words, code=Exit.FAILED).stderr
    assert f"agentcontainer providers set {provider} " in said and "-m scripted" in said
    assert "providerApiKey" not in said and said.count("\n") == 1


def test_a_port_in_use_is_reported_with_the_remedy():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"port {port}: .* in use.*--port 0"):
            _listening(Settings(port=port))


def test_credit_is_said_to_be_unused_where_nothing_is_charged(cli, live, monkeypatch):
    assert "--billing prepaid" in cli("credit", "add", "5").stderr
    live.do(lambda host: host.db.conn.execute("UPDATE accounts SET billing_mode = 'standard'"))
    assert cli("credit", "add", "5").stderr == ""


def test_the_list_of_keys_says_which_are_active(cli):
    cli("keys", "create", "old")
    cli("keys", "create", "guest", "--days", "3")
    cli("keys", "revoke", "old")
    head, *rows = cli("keys", "list").stdout.splitlines()
    assert head.split() == ["ID", "KEY", "AGE", "STATUS", "SCOPE", "NAME"]
    assert [
        ("revoked" in row, "until 2" in row, " active " in row) for row in sorted(rows, key=lambda row: row.split()[-1])
    ] == [
        (False, False, True),
        (False, True, False),
        (True, False, False),
    ]


def test_every_flag_of_the_overrides_is_known():
    from agentcontainer_local.cli.run import run

    own = flags.of(run)
    assert own["max_runtime"] == "--max-runtime" and own["instructions"] == "INSTRUCTIONS"
    assert own["internet"] == "--internet" and own["agent"] == "--agent"
