"""Skills."""

from typing import Annotated

from pydantic import Field

from agentcontainer_local.schemas.base import Request, Shape


class SkillRequest(Request):
    skill: Annotated[str, Field(max_length=500, pattern=r"^[^\s-]\S*$")] = Field(
        description="Source, as for `skills add`.", examples=["vercel-labs/agent-skills"]
    )
    ssh_key_id: str | None = Field(None, description="Not supported here.")


Skills = Annotated[list[SkillRequest], Field(max_length=100)]


class Skill(Shape):
    skill: str
