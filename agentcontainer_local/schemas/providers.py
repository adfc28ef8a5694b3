"""Model providers: their settings, and the models that a task uses."""

from typing import Annotated

from pydantic import Field

from agentcontainer_local.schemas.base import Request, Shape
from agentcontainer_local.schemas.enums import KeySource, Provider, ProviderApi
from agentcontainer_local.schemas.fields import MAX_WINDOW_TOKENS, URL, Model, Secret
from agentcontainer_local.schemas.pages import Page


class UpdateProviderRequest(Request):
    """Changes what is given; to forget it, DELETE."""

    api_key: Secret | None = Field(None, description="Write-only; never returned in responses.")
    base_url: Annotated[str, Field(max_length=2000, pattern=URL)] | None = Field(
        None, description="Base URL, as for the vendor's SDK.", examples=["http://127.0.0.1:11434/v1"]
    )
    is_default: bool | None = Field(None, description="Whether this is the default provider of agents that name none.")
    api: ProviderApi | None = Field(
        None, description="API of the server at the base URL. By default the vendor's usual one."
    )
    model: Model | None = Field(
        None, description="Model that the following settings apply to. By default all models of the provider."
    )
    context_window: Annotated[int, Field(ge=4096, le=MAX_WINDOW_TOKENS)] | None = Field(
        None, description="Context window, in tokens. The history is shortened to fit it."
    )
    max_output_tokens: Annotated[int, Field(ge=256, le=MAX_WINDOW_TOKENS)] | None = Field(
        None, description="Longest answer, in tokens."
    )
    images: bool | None = Field(None, description="Whether the model accepts images.")
    free: bool | None = Field(
        None, description="Whether the model's calls are free of charge. A budget in USD needs a price or this setting."
    )


class ModelSettings(Shape):
    """What a model can take; null where it was not set."""

    model: str | None = Field(description="Model id; null: all models of the provider without settings of their own.")
    context_window: int | None
    max_output_tokens: int | None
    images: bool | None
    free: bool | None
    learned_context_window: int | None = Field(
        description="Context window, in tokens, learned from a provider's error."
    )


class ProviderStatus(Shape):
    provider: Provider
    has_api_key: bool
    base_url: str
    is_default: bool
    source: KeySource | None = Field(description="Source of the key.")
    api: ProviderApi | None = Field(description="API of the server; null: the vendor's usual one.")
    models: list[ModelSettings]


class ListProvidersResponse(Page[ProviderStatus]):
    pass


class Execution(Shape):
    """What it runs with in effect."""

    provider: str
    model: str
    weak_model: str | None
