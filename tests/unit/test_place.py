"""Whose fault it is when a container does not start, and how often and how loudly it is tried again."""

import logging

import pytest

from agentcontainer_local.engine.availability import MAX_SECONDS, MAX_START_FAILURES, TRIES, Place
from agentcontainer_local.sandbox import errors
from agentcontainer_local.sandbox.errors import Refusal, Unavailable
from tests.conftest import Clock

RUNTIME_DIRS = ("/run/user/1000/agentcontainer/x", "/run/user/1000")


@pytest.mark.parametrize(
    "said",
    [
        "opening seccomp profile failed: open /tmp/x/seccomp.json: no such file or directory",
        "crun: mkdir /run/user/1000/crun: No such file or directory: OCI runtime attempted to invoke a command",
        "mkdir /run/user/1000/containers: no such file or directory",
        "database is locked",
        "allocating lock for new container: allocation failed; exceeded num_locks (2048)",
        "write /var/lib/x: no space left on device",
        'invalid internal status, try resetting the pause process with "podman system migrate"',
        "OCI runtime error: unable to start container: sd-bus call: Transport endpoint is not connected",
        "read unixpacket @->/run/x/attach: connection reset by peer",
        "conmon exited prematurely, exit code could not be retrieved",
        "fork/exec /usr/bin/conmon: resource temporarily unavailable",
        "open /proc/self/fd: too many open files",
    ],
)
def test_what_no_task_could_have_caused_is_the_machines_fault(said: str):
    assert type(errors.refused(said, 500, RUNTIME_DIRS)) is Unavailable


@pytest.mark.parametrize(
    ("said", "status", "again"),
    [
        ("no such image", 404, False),
        ("the container name is already in use", 409, False),
        ("no space left on device", 400, False),
        ('executable file "nosuch" not found in $PATH: No such file or directory: OCI runtime error', 500, True),
        ("container with given ID already exists", 500, True),  # what is left of a start is removed before the next one
        ("statfs /no/such/source: no such file or directory", 500, True),
    ],
)
def test_everything_else_is_the_tasks_own(said: str, status: int, again: bool):
    error = errors.refused(said, status, RUNTIME_DIRS)
    assert type(error) is Refusal and errors.may_work_later(error) == again


def test_a_pull_fails_for_its_image_unless_the_machine_cannot_do_it():
    assert type(errors.failed("pull", 125, "Error: initializing source: manifest unknown")) is errors.SandboxError
    refused = "pinging container registry localhost:1: dial tcp 127.0.0.1:1: connect: connection refused"
    assert type(errors.failed("pull", 125, refused)) is errors.SandboxError
    assert type(errors.failed("pull", 125, "Copying\nError: writing blob: no space left on device")) is Unavailable


def test_tries_become_rarer_and_one_line_is_logged_for_each_change(clock: Clock, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    place, waits = Place(clock.steady), []
    for _ in range(8):
        for _ in range(3):  # tasks that find it out together
            place.failed("gone")
        waits.append(place.wait_seconds())
        clock.advance(place.wait_seconds())
    assert waits == [1, 2, 4, 8, MAX_SECONDS, MAX_SECONDS, MAX_SECONDS, MAX_SECONDS]
    assert (place.reason, len(caplog.records)) == ("gone", 1)
    place.looks_well()
    assert (place.reason, place.wait_seconds(), len(caplog.records)) == (None, 0, 2)


def test_a_clock_that_is_set_changes_nothing_of_a_pause(clock: Clock):
    place = Place(clock.steady)
    place.failed("gone")
    clock.set(-3600)
    assert place.wait_seconds() == 1


def test_when_a_container_did_not_start_only_one_that_does_says_that_all_is_well(clock: Clock):
    place = Place(clock.steady)
    place.failed("no locks", start=True)
    place.looks_well()
    assert place.reason == "no locks"
    place.started("tsk_1")
    assert place.reason is None
    place.failed("no locks", start=True)
    clock.advance(60)  # nothing was tried for long
    place.looks_well()
    assert place.reason is None
    place.failed("no directory", start=True)
    place.failed("no directory")  # seen without a start
    place.looks_well()
    assert place.reason is None


def test_a_task_that_alone_never_starts_is_its_own_fault(clock: Clock):
    place = Place(clock.steady)
    assert not any(place.is_the_tasks_own("tsk_1") for _ in range(2 * MAX_START_FAILURES))  # nothing starts
    place.started("tsk_2")
    assert place.is_the_tasks_own("tsk_1")
    assert not any(place.is_the_tasks_own("tsk_3") for _ in range(MAX_START_FAILURES))
    place.started("tsk_1")
    assert (place.failures("tsk_1"), place.failures("tsk_3")) == (0, MAX_START_FAILURES)


def test_a_start_that_fails_for_an_unknown_reason_is_tried_a_few_times(clock: Clock):
    place = Place(clock.steady)
    assert [place.worth_a_try("tsk_1") for _ in range(TRIES)] == [True] * (TRIES - 1) + [False]
    assert place.worth_a_try("tsk_2")
