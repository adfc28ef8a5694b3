"""What this machine has and lacks, and what its walls hold."""

import asyncio

from agentcontainer_local import doctor, schemas
from agentcontainer_local.errors import Conflict, Unavailable
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.sandbox.backend import Checks
from agentcontainer_local.sandbox.errors import SandboxError


async def get_doctor(call: Call) -> schemas.Doctor:
    """Returns what this machine has and lacks, with the command that mends it, and the last proof of its isolation."""
    report = await asyncio.to_thread(doctor.report, call.host.settings)
    at_work = _at_work(call.host.place.reason)
    ready = report.ready and at_work.status == "ok"
    return report.model_copy(update={"proving": call.host.proving, "checks": [*report.checks, at_work], "ready": ready})


def _at_work(reason: str | None) -> schemas.Check:
    """What this server has found out by running containers."""
    if reason is None:
        return schemas.Check(name="containers", status="ok", detail="can run")
    return schemas.Check(
        name="containers", status="missing", detail=f"can't start containers at the moment. Tasks wait: {reason}"
    )


async def prove(call: Call) -> schemas.Doctor:
    """Starts containers in which each promise of isolation is tried, and returns what held. It takes about ten
    seconds."""
    host = call.host
    if not isinstance(host.backend, Checks):
        raise Conflict("This server's backend has no isolation to prove.")
    if host.proving:
        raise Conflict("A proof is already running. Wait until it ends.")

    def say(step: str) -> None:
        host.proving = step

    say("Looking for an image")
    try:
        promises = await host.backend.prove(host.settings, say)
    except SandboxError as error:
        raise Unavailable(f"The proof could not be made: {error}") from None
    finally:
        host.proving = None
    doctor.write_proof(host.settings, promises, host.now())
    return await get_doctor(call)


ROUTES = [
    Route(
        "GET",
        "/doctor",
        get_doctor,
        "Check the machine",
        "Account",
        schemas.Doctor,
        extension=True,
    ),
    Route(
        "POST",
        "/doctor",
        prove,
        "Test the security promises",
        "Account",
        schemas.Doctor,
        errors=(Conflict, Unavailable),
        extension=True,
    ),
]
