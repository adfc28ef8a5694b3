"""Output policies: the files that a task must hand in."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypeAliasType

from agentcontainer_local.schemas.base import Request, fault, optional

OutputName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^=\x00-\x1f-][^=\x00-\x1f]*$", examples=["report"])
]


class OutputDescriptor(Request):
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)
    name: OutputName
    description: str | None = optional()


class AnyOutput(Request):
    mode: Literal["any"]


class NoOutput(Request):
    mode: Literal["none"]


class AtLeastOneOutput(Request):
    mode: Literal["at_least_one"]


class NamedOutput(Request):
    mode: Literal["named"]
    files: Annotated[list[OutputDescriptor], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise fault("files", "names must be unique")
        return self


OutputPolicy = TypeAliasType(
    "OutputPolicy", Annotated[AnyOutput | NoOutput | AtLeastOneOutput | NamedOutput, Field(discriminator="mode")]
)
