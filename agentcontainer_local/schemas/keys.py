"""API keys."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from agentcontainer_local.schemas.base import Request, Shape
from agentcontainer_local.schemas.enums import KeyScope
from agentcontainer_local.schemas.fields import Name, Timestamp, whole
from agentcontainer_local.schemas.pages import Page


class CreateKeyRequest(Request):
    name: Name
    scope: KeyScope | None = Field(None, description="By default `all`. A key with `metrics` can only read /metrics.")
    expires_in_seconds: Annotated[int, Field(ge=1, le=10 * 366 * 86400), BeforeValidator(whole)] | None = Field(
        None, description="Seconds until the key expires. By default never."
    )


class ApiKey(Shape):
    id: str
    name: str
    hint: str = Field(description="The key's last four characters.")
    scope: KeyScope
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None


class CreatedApiKey(ApiKey):
    key: str = Field(description="The full API key. It is shown only once.", examples=["ac_live_..."])


class ListApiKeysResponse(Page[ApiKey]):
    pass
