"""Token usage and model calls."""

from pydantic import Field

from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.schemas.enums import ModelCallState, Outcome
from agentcontainer_local.schemas.fields import Timestamp
from agentcontainer_local.schemas.pages import Page


class ModelUsage(Shape):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = Field(
        0.0, description="Cost in US dollars, by the provider's list price; null if the price is unknown."
    )
    calls: int = 0


class TokenUsage(ModelUsage):
    """Model calls so far, as the providers reported them; paid to the provider, never billed."""

    estimated_calls: int = Field(
        0, description="Number of calls with estimated figures, because the provider's usage was not received."
    )
    by_model: dict[str, ModelUsage] = Field(default_factory=dict)


class CurrentModelCall(Shape):
    """A call to the model that is at work."""

    state: ModelCallState = Field(description="`waiting`: no part of the answer has arrived yet.")
    model: str
    attempt: int = Field(description="Number of the attempt: 1, plus the failed calls directly before it.")
    waited_seconds: float = Field(description="Seconds that the call waited for the first part of its answer.")
    received_characters: int = Field(description="Characters of the answer received so far.")


class ModelCall(Shape):
    """One call to a model, as the provider reported it; ours."""

    id: int = Field(description="Increasing number, unique within a task.")
    turn_number: int | None
    provider: str
    model: str = Field(description="Model that answered, if the provider named it.")
    input_tokens: int = Field(description="Input tokens that were not read from a cache.")
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float | None = Field(
        description="Cost in US dollars, by the provider's list price; null if it is not known, or not yet."
    )
    estimated: bool = Field(
        description="Whether the figures are an estimate, because the provider's usage was not received."
    )
    status: Outcome | None = Field(description="null while it is at work.")
    http_status: int | None = Field(
        description="HTTP status of the provider, or a replacement if it sent none; null if there was no answer."
    )
    attempt: int = Field(description="Number of the attempt: 1, plus the failed calls directly before it.")
    error: str | None = Field(description="Error message with address and remedy; null if the call succeeded.")
    error_detail: str | None = Field(description="The provider's own answer, shortened if it is long.")
    started_at: Timestamp
    ended_at: Timestamp | None


class ListModelCallsResponse(Page[ModelCall]):
    pass
