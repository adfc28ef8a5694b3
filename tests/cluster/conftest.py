"""One cluster for all tests of this folder, which run as root: `./dev test tests/cluster`."""

import json
import os
import sys
from collections.abc import Iterator

import pytest

from tests.cluster import machines, slurm
from tests.cluster.machines import CLONE
from tests.cluster.slurm import Slurm

ACCOUNT = os.environ.get("AGENTCONTAINER_TESTS_ACCOUNT", "agentcontainer")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    if lacks := machines.missing():
        pytest.skip(lacks)
    with slurm.started(ACCOUNT) as started:
        yield started


@pytest.fixture
def asked(cluster: Slurm):
    """Calls a method of the product's Slurm on the head, as the account: its answer, or the error's name and words."""

    def asked(method: str, *args, options=(), **kwargs):
        said = cluster.head.run(
            sys.executable, "-m", "tests.cluster.ask", input=json.dumps([options, method, args, kwargs]),
            user=cluster.account, environ={"PYTHONPATH": os.pathsep.join([str(CLONE), *sys.path]), "CANARY": "tweet"},
        )  # fmt: skip
        return json.loads(said.stdout)

    return asked
