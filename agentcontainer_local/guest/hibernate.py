"""Hibernation: an agent waits for a time or for an outside event."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, model_validator
from starlette.requests import Request

from agentcontainer_local.errors import Invalid, TooLarge
from agentcontainer_local.guest.door import Door
from agentcontainer_local.guest.responses import answering, body_of
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import accounts, tasks

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=30)
MAX_BODY_BYTES = 256 * 1024


class Hibernate(BaseModel):
    forSeconds: Annotated[float, Field(ge=1, le=LONGEST.total_seconds())] | None = None
    untilAt: AwareDatetime | None = None
    message: Annotated[str, Field(max_length=100_000)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.forSeconds is None) == (self.untilAt is None):
            raise ValueError("give either a duration or a time, not both")
        return self

    def until(self, now: datetime) -> datetime:
        return self.untilAt if self.untilAt is not None else now + timedelta(seconds=self.forSeconds or 0)


@answering
async def hibernate(request: Request, door: Door) -> dict[str, Any]:
    try:
        wish = Hibernate.model_validate_json(await body_of(request, MAX_BODY_BYTES))
    except ValidationError as error:
        raise Invalid(error.errors(include_url=False)[0]["msg"]) from None
    now = door.host.now()
    until = wish.until(now)
    if not SHORTEST <= until - now <= LONGEST:
        raise Invalid("Hibernation lasts from one second to thirty days.")
    _check_quota(door)
    failpoints.point("hibernate.asked")
    relative = wish.forSeconds is not None
    tasks.sleep(door.host.db, door.task_id, until, wish.message, now, relative=relative)
    failpoints.point("hibernate.accepted")
    return {}


def _check_quota(door: Door) -> None:
    account_id = tasks.get(door.host.db, door.task_id)["account_id"]
    try:
        accounts.check_checkpoint_quota(door.host.db, account_id, door.host.settings)
    except TooLarge as problem:
        raise Invalid(f"{problem.message} Continue without hibernating, or finish.") from None
