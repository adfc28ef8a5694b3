"""Node is pinned in one place, and need not be installed."""

import re
from pathlib import Path

from agentcontainer_local.pi import node


def test_what_is_fetched_is_what_the_lock_file_has():
    locked = (Path(__file__).parents[2] / "requirements.lock").read_text()
    fetched = re.sub("^#.*\n", "", node.LOCK.read_text())
    assert fetched.startswith(f"{node.PACKAGE}==") and "\npatchelf==" in fetched
    for pinned in re.split(r"^(?=\S)", fetched, flags=re.MULTILINE)[1:]:
        assert pinned in locked


def test_the_version_that_is_installed_is_the_one_that_would_be_fetched():
    assert f"{node.PACKAGE}=={node.version()} " in node.LOCK.read_text()
    assert node.installed() is not None
