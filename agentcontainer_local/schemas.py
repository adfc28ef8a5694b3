"""Every shape on the wire: what requests may carry and what answers look like.

Names follow the published reference; attributes are snake_case, the wire is camelCase. Requests are strict: an unknown
field or a wrong type is refused. In requests absent and null mean the same; the one exception are the defaults in a
patch of an agent, where null takes away a key and what else is in REMOVABLE (see `patch.model_fields_set`).
"""

import json
import operator
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from agentcontainer_local import hostnames, lifecycle
from agentcontainer_local.errors import Unsupported

T = TypeVar("T")


class Shape(BaseModel):
    # defer_build: each shape is built when it is first used; all of them took a tenth of a second of every start.
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        protected_namespaces=(),
        json_schema_serialization_defaults_required=True,
        defer_build=True,
    )

    @classmethod
    def made(cls, **values: Any) -> Self:
        """From values under their names here alone: at half the price of looking for the wire's names as well."""
        return cls.model_validate(values, by_alias=False, by_name=True)


class Request(Shape):
    model_config = ConfigDict(extra="forbid", strict=True, validate_by_name=False)


def fault(field: str, message: str) -> PydanticCustomError:
    """A broken rule between fields, said of one of them."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})


def _said(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


def _whole(value: Any) -> Any:
    """In JSON 5.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finite(value: dict) -> dict:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        raise PydanticCustomError("not_json", "must be plain JSON with finite numbers") from None
    return value


_IS_NONE = partial(operator.is_, None)  # a lambda takes twice as long, for each field of each answer


def optional(**about) -> Any:
    """A field of an answer that is left out when there is nothing to say."""
    return Field(None, exclude_if=_IS_NONE, **about)


def required(name: str) -> Callable[[dict[str, Any]], None]:
    """For the OpenAPI document: this text is required. What a request without it gets is decided elsewhere.

    A schema that requires one of two fields is lost in most generated clients.
    """

    def change(schema: dict[str, Any]) -> None:
        schema["required"] = [name]
        schema["properties"][name]["type"] = "string"
        schema["properties"][name].pop("default", None)

    return change


def _stripped(value: Any) -> Any:
    """Keys come from files, with a line ending."""
    return value.strip() if isinstance(value, str) else value


MAX_RUNTIME_SECONDS = 604_800
MAX_TOKENS = 10_000_000
MAX_BYTES = 2**63 - 1

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-03-25T09:30:00.000Z"])]

# Each has a name in the OpenAPI document too, so that generated clients call it the same everywhere.
Provider = TypeAliasType("Provider", Literal["anthropic", "openrouter", "openai"])
RuntimeRegion = TypeAliasType("RuntimeRegion", Literal["any", "eu"])
AgentRuntime = TypeAliasType("AgentRuntime", Literal["pi"])
ContainerPreset = TypeAliasType("ContainerPreset", Literal["coding", "data-processing", "document-analysis"])
ContractVersion = TypeAliasType("ContractVersion", Literal["1"])
TaskMode = TypeAliasType("TaskMode", Literal["autonomous", "conversation"])
TaskStatus = TypeAliasType("TaskStatus", Literal[lifecycle.STATUSES])  # type: ignore[valid-type]
TurnStatus = TypeAliasType("TurnStatus", Literal["queued", "running", "completed", "failed"])
MessageRole = TypeAliasType("MessageRole", Literal["user", "assistant"])
Outcome = TypeAliasType("Outcome", Literal["completed", "failed"])
BillingMode = TypeAliasType("BillingMode", Literal["standard", "unlimited_grant"])
Isolation = TypeAliasType("Isolation", Literal["container", "gvisor"])
Order = TypeAliasType("Order", Literal["asc", "desc"])
CheckStatus = TypeAliasType("CheckStatus", Literal["ok", "warning", "missing"])
WallStatus = TypeAliasType("WallStatus", Literal["enforced", "not_enforced", "unavailable"])
CreditEntryKind = TypeAliasType("CreditEntryKind", Literal["grant", "reservation", "release", "charge"])
KeyScope = TypeAliasType("KeyScope", Literal["all", "metrics"])
ProviderApi = TypeAliasType("ProviderApi", Literal["responses", "chat-completions", "messages"])
ModelCallState = TypeAliasType("ModelCallState", Literal["waiting", "answering", "ended"])
KeySource = TypeAliasType("KeySource", Literal["store", "environment"])
LimitKeeper = TypeAliasType(
    "LimitKeeper", Literal["cgroup", "affinity", "ulimit", "watchdog", "ulimit and watchdog", "nothing"]
)
NetworkAccess = TypeAliasType("NetworkAccess", Literal["none", "internet"])
WorkspaceEntryType = TypeAliasType("WorkspaceEntryType", Literal["file", "directory", "link", "other"])
Snapshot = TypeAliasType("Snapshot", Literal["include"])
TaskModeChange = TypeAliasType("TaskModeChange", Literal["autonomous"])
WakeKind = TypeAliasType("WakeKind", Literal["message", "external_wake"])

Id = Annotated[str, Field(min_length=1, max_length=100)]
# Written so that it means the same to who searches for it, to who matches from the start, and to who matches all.
SAID = {"minLength": 1, "pattern": r"^[\s\S]*\S[\s\S]*$"}
Name = Annotated[str, Field(max_length=200, json_schema_extra=SAID), AfterValidator(_said)]
Text = Annotated[str, Field(json_schema_extra=SAID), AfterValidator(_said)]
Metadata = Annotated[dict[str, Any], AfterValidator(_finite)]
Image = Annotated[
    str,
    Field(max_length=500, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", examples=["docker.io/library/python:3.13-slim"]),
]
Model = Annotated[str, Field(max_length=200, pattern=r"^[^\s-]\S*$", examples=["claude-sonnet-4-5"])]
SECRET = r"^[!-~]+$"  # it becomes part of a header
URL = r"^https?://[!-~]+$"
Secret = Annotated[
    str,
    BeforeValidator(_stripped),
    Field(
        min_length=1, max_length=1000, pattern=SECRET, examples=["sk-ant-..."], json_schema_extra={"writeOnly": True}
    ),
]
Seconds = Annotated[int, Field(ge=1, le=MAX_RUNTIME_SECONDS), BeforeValidator(_whole)]
SessionTtl = Annotated[int, Field(ge=60, le=MAX_RUNTIME_SECONDS), BeforeValidator(_whole)]
FileIds = Annotated[list[Id], Field(max_length=1000)]
OutputName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^=\x00-\x1f-][^=\x00-\x1f]*$", examples=["report"])
]


def _host(text: str) -> str:
    """As it was written, if it makes sense."""
    try:
        hostnames.allowed(text)
    except ValueError as error:
        raise PydanticCustomError("host", "{message}", {"message": str(error)}) from None
    return text


AllowedHosts = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_host)]], Field(max_length=100)
]
ALLOWED_AND_OPEN = "allowedHosts needs internetAccess false; give [] for none"
ABOUT_ALLOWED_HOSTS = (
    "Extension: hosts that the agent may reach through an HTTP proxy, for example `example.org`, or `*.example.org`"
    " for all its subdomains; ports 80 and 443, or one port as in `example.org:8443`. Needs `internetAccess` false."
)


# Errors


class ErrorDetail(Shape):
    model_config = ConfigDict(extra="allow")
    code: str = Field(examples=["not_found"])
    message: str = Field(description="Error message: problem and remedy.")


class ErrorResponse(Shape):
    """Every answer that is not a success. `error` may carry more: a 422 lists the `fields` at fault."""

    error: ErrorDetail


# Pages


class PageInfo(Shape):
    has_more: bool
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class PageQuery(Shape):
    limit: int = Field(1000, ge=1, le=1000, description="Maximum number of items; large items may make a page shorter.")
    cursor: str | None = Field(None, max_length=100, description="`pageInfo.nextCursor` of the previous page.")
    order: Order = Field("desc", description="Newest first (desc) or oldest first.")


class Page(Shape, Generic[T]):
    data: list[T]
    page_info: PageInfo


# Account


class StorageUse(Shape):
    used_bytes: int
    quota_bytes: int | None = Field(description="Maximum size, in bytes; null: only the disk limits it.")
    is_enforced: bool


class WallFigures(Shape):
    """Of the last time that `doctor` proved the walls of this machine."""

    proved_at: Timestamp
    enforced: int
    not_enforced: int
    unavailable: int = Field(
        description="Number of promises that this machine cannot keep; tasks that need them are refused."
    )


class Account(Shape):
    id: str = Field(description="Internal account identifier resolved from the API key.")
    name: str | None
    email: str | None
    credit_balance: float = Field(description="Current prepaid platform credit balance in USD.")
    billing_mode: BillingMode
    file_storage: StorageUse = Field(description="Uploaded files and task outputs.")
    checkpoint_storage: StorageUse = Field(description="Kept workspaces of hibernating tasks and idle conversations.")
    walls: WallFigures | None = Field(None, description="null until `agentcontainer doctor --prove`.")
    created_at: Timestamp


class Check(Shape):
    """Something that the machine has or lacks."""

    name: str
    status: CheckStatus = Field(description="`missing`: no task can run without it.")
    detail: str
    fix: str | None = Field(None, description="Command that fixes it.")


class WallCheck(Shape):
    """Something that an agent must not be able to do, and that was tried."""

    name: str
    status: WallStatus = Field(
        description="`unavailable`: not possible on this machine; tasks that need it are refused."
    )
    detail: str


class Proof(Shape):
    at: Timestamp
    promises: list[WallCheck]


class Doctor(Shape):
    ready: bool = Field(description="Nothing is missing.")
    checks: list[Check]
    proof: Proof | None = Field(description="Latest proof; null if there is none yet.")
    proving: str | None = Field(None, description="Promise that is being tested now; null if no proof is running.")


class Credit(Shape):
    balance_usd: float
    billing_mode: BillingMode = Field(description="Only `standard` charges the credit.")


class AddCreditRequest(Request):
    amount_usd: Annotated[float, Field(ge=0.01, le=1_000_000, allow_inf_nan=False)]


class CreditEntry(Shape):
    kind: CreditEntryKind
    amount_usd: float
    task_id: str | None
    created_at: Timestamp


class ListCreditEntriesResponse(Page[CreditEntry]):
    pass


class CreateKeyRequest(Request):
    name: Name
    scope: KeyScope | None = Field(None, description="By default `all`. A key with `metrics` can only read /metrics.")
    expires_in_seconds: Annotated[int, Field(ge=1, le=10 * 366 * 86400), BeforeValidator(_whole)] | None = Field(
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
    context_window: Annotated[int, Field(ge=4096, le=MAX_TOKENS)] | None = Field(
        None, description="Context window, in tokens. The history is shortened to fit it."
    )
    max_output_tokens: Annotated[int, Field(ge=256, le=MAX_TOKENS)] | None = Field(
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


# Containers

RESERVED = ("/proc", "/sys", "/dev", "/run", "/opt/agentcontainer", "/workspace")


def _writable(path: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "" in parts[1:] or "." in parts or not path.isprintable():
        raise ValueError("give an absolute path of a directory, without a slash at its end: /testbed")
    if any(path == place or path.startswith(place + "/") for place in RESERVED):
        raise ValueError("this directory can't be changed")
    return path


WritablePath = Annotated[str, Field(min_length=2, max_length=500), AfterValidator(_writable)]
WritablePaths = Annotated[list[WritablePath], Field(max_length=20)]
WRITABLE = "Directories of the image that the agent may write to."


class ContainerExecution(Request):
    container_preset: ContainerPreset | None = None
    container_image: Image | None = Field(None, description="Any image with glibc and /bin/sh.")
    writable_paths: WritablePaths | None = Field(None, description=WRITABLE, examples=[["/testbed"]])
    container_contract_version: ContractVersion | None = None

    @model_validator(mode="after")
    def _one_source(self):
        if self.container_preset and self.container_image:
            raise fault("containerImage", "give either containerPreset or containerImage")
        return self


class CreateContainerRequest(ContainerExecution):
    name: Name
    description: str | None = None


class UpdateContainerRequest(ContainerExecution):
    name: Name | None = None
    description: str | None = None


class ForkResourceRequest(Request):
    name: Name | None = None
    description: str | None = None


class ContainerVersion(Shape):
    id: str
    number: int
    container_preset: str | None
    container_image: str | None
    writable_paths: list[str] = Field([], description=WRITABLE, exclude_if=lambda paths: not paths)
    container_contract_version: str
    created_at: Timestamp


class Container(Shape):
    id: str
    name: str
    description: str
    is_standard: bool
    archived_at: Timestamp | None
    current_version: ContainerVersion
    created_at: Timestamp


class ListContainersResponse(Page[Container]):
    pass


class ListContainerVersionsResponse(Page[ContainerVersion]):
    pass


# Output policies


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
    def _distinct(self):
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise fault("files", "names must be unique")
        return self


OutputPolicy = TypeAliasType(
    "OutputPolicy", Annotated[AnyOutput | NoOutput | AtLeastOneOutput | NamedOutput, Field(discriminator="mode")]
)


# Agents


class Limits(Request):
    max_runtime_seconds: Seconds | None = Field(None, description="Maximum running time of the container, in seconds.")
    soft_finish_after_seconds: Seconds | None = Field(
        None, description="Running time after which the agent is asked to wrap up, in seconds."
    )

    @model_validator(mode="after")
    def _soft_before_hard(self):
        hard, soft = self.max_runtime_seconds, self.soft_finish_after_seconds
        if hard is not None and soft is not None and soft >= hard:
            raise fault("softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
        return self


class ResourceLimits(Request):
    """What the container may take of the machine; the server's settings say it where this does not."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)
    memory_mb: Annotated[int, Field(ge=256, le=2**24), BeforeValidator(_whole)] | None = optional(
        description="Maximum memory of all processes together, in MB of 1024 * 1024 bytes."
    )
    cpus: Annotated[float, Field(ge=0.1, le=4096, allow_inf_nan=False)] | None = optional(
        description="Maximum number of processors. Rounded up to whole ones on a machine that cannot share them."
    )
    processes: Annotated[int, Field(ge=64, le=2**20), BeforeValidator(_whole)] | None = optional(
        description="Maximum number of processes and threads."
    )
    open_files: Annotated[int, Field(ge=256, le=2**20), BeforeValidator(_whole)] | None = optional(
        description="Maximum number of open files of each process."
    )
    workspace_mb: Annotated[int, Field(ge=16, le=2**30), BeforeValidator(_whole)] | None = optional(
        description="Maximum disk space, inside and outside of the workspace, in MB of 1024 * 1024 bytes."
    )


class Walled(Request):
    """How its container is limited and isolated."""

    limits: ResourceLimits | None = Field(None, description="Resource limits of the container.")
    isolation: Isolation | None = Field(None, description="Minimum isolation; `gvisor` needs runsc.")


Usd = Annotated[float, Field(ge=0.000001, le=1e6, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=2**53), BeforeValidator(_whole)]


class Budgeted(Request):
    """What its model calls may use. A call that would not fit is not made; a part is kept for the agent to finish."""

    max_cost_usd: Usd | None = Field(
        None, description="Maximum cost of all model calls, in US dollars, by the price table. It is never exceeded."
    )
    max_tokens: Tokens | None = Field(
        None,
        description="Maximum tokens of all model calls, input and output, without cache reads. It is never exceeded.",
    )


class BudgetRequest(Budgeted):
    """Takes the place of the one before; a limit that is not given is none."""


class Budget(Shape):
    """Limits, and what counts against them: calls at work, or whose end was never told, count at their worst."""

    max_cost_usd: float | None
    max_tokens: int | None
    used_cost_usd: float
    used_tokens: int
    worst_case_cost_usd: float | None = optional(
        description="Part of `usedCostUsd` that is an upper bound, for calls that are running or were cut off."
    )
    worst_case_tokens: int | None = optional(
        description="Part of `usedTokens` that is an upper bound. `tokenUsage` has an estimate instead, so the"
        " two may differ by this."
    )


class AccountBudget(Budget):
    month: str = Field(description="Calendar month (UTC) whose model calls are counted.", examples=["2026-03"])


class Thinking(Request):
    """Who thinks: provider, key and models."""

    provider: Provider | None = Field(None, description="LLM provider. Falls back to the account's default.")
    provider_api_key: Secret | None = Field(
        None, description="API key for the specified provider. Write-only; never returned in responses."
    )
    model: Model | None = None
    weak_model: Model | None = Field(None, description="A lighter model for auxiliary work.")

    def stored(self) -> dict:
        """What was given, by its names on the wire and without the key: fit for a JSON column."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"provider_api_key"})


class Network(Request):
    internet_access: bool | None = None
    allowed_hosts: AllowedHosts | None = Field(
        None, description=ABOUT_ALLOWED_HOSTS, examples=[["*.example.org", "registry.example:8443"]]
    )

    @model_validator(mode="after")
    def _one_way_out(self):
        if self.internet_access and self.allowed_hosts:
            raise fault("allowedHosts", ALLOWED_AND_OPEN)
        return self


REMOVABLE = {"weak_model", "soft_finish_after_seconds", "max_cost_usd", "max_tokens"}


class UpdateAgentDefaults(Thinking, Limits, Budgeted, Walled, Network):
    """Merged into what the agent has. null takes away a `providerApiKey`, `weakModel`, `softFinishAfterSeconds`,
    `maxCostUsd` or `maxTokens`."""

    output_policy: OutputPolicy | None = None
    runtime_region: RuntimeRegion | None = None


class AgentDefaults(UpdateAgentDefaults):
    model: Model
    internet_access: bool
    max_runtime_seconds: Seconds


class AgentImage(Request):
    container_image: Image
    agent_runtime: AgentRuntime
    writable_paths: WritablePaths | None = Field(None, description=WRITABLE, examples=[["/testbed"]])


class SkillRequest(Request):
    skill: Annotated[str, Field(max_length=500, pattern=r"^[^\s-]\S*$")] = Field(
        description="Source, as for `skills add`.", examples=["vercel-labs/agent-skills"]
    )
    ssh_key_id: str | None = Field(None, description="Not supported here.")


Skills = Annotated[list[SkillRequest], Field(max_length=100)]


class AgentContainer(Request):
    """Where it runs: a container, one version of a container, or an image; at most one of the three."""

    container_id: Id | None = None
    container_version_id: Id | None = None
    runtime: AgentImage | None = None

    @model_validator(mode="after")
    def _one_place(self):
        if self.runtime and (self.container_id or self.container_version_id):
            raise fault("runtime", "give either runtime or a container")
        return self


class CreateAgentRequest(AgentContainer):
    name: Name
    description: str | None = None
    base_prompt: str
    defaults: AgentDefaults
    skills: Skills | None = None


class UpdateAgentRequest(AgentContainer):
    name: Name | None = None
    description: str | None = None
    base_prompt: str | None = None
    defaults: UpdateAgentDefaults | None = None
    skills: Skills | None = None


class AttachReferenceFilesRequest(Request):
    file_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class AgentVersionDefaults(Shape):
    provider: Provider | None = Field(description="Configured LLM provider, or null if using account default.")
    has_provider_api_key: bool = Field(description="Whether a provider API key is set on this version.")
    model: str
    weak_model: str | None
    internet_access: bool
    allowed_hosts: list[str]
    max_runtime_seconds: int
    soft_finish_after_seconds: int | None
    max_cost_usd: float | None
    max_tokens: int | None
    output_policy: OutputPolicy
    runtime_region: RuntimeRegion
    limits: ResourceLimits = Field(description="Names of the secrets that this version sets.")
    isolation: Isolation


class RuntimeStatus(Shape):
    container_image: str | None = Field(description="Image; null if a preset names it.")
    agent_runtime: AgentRuntime = "pi"
    writable_paths: list[str] = Field([], description=WRITABLE, exclude_if=lambda paths: not paths)


class Skill(Shape):
    skill: str


class AgentVersion(Shape):
    id: str
    number: int
    container_version_id: str
    runtime: RuntimeStatus
    base_prompt: str
    defaults: AgentVersionDefaults
    skills: list[Skill]
    created_at: Timestamp


class Agent(Shape):
    id: str
    name: str
    description: str
    is_standard: bool
    archived_at: Timestamp | None
    runtime: RuntimeStatus
    current_version: AgentVersion
    created_at: Timestamp


class ListAgentsResponse(Page[Agent]):
    pass


class ListAgentVersionsResponse(Page[AgentVersion]):
    pass


# Files

# A directory, packed as a tar archive of plain files and directories: unpacked in the workspace, and by the command.
DIRECTORY = "application/x-tar; directory=true"


class PrepareUploadRequest(Request):
    filename: Annotated[str, Field(min_length=1, max_length=1000)]
    content_type: Annotated[str, Field(max_length=255, pattern=r"^[ -~]*$")] | None = None
    size_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES), BeforeValidator(_whole)] | None = Field(
        None, description="Size of the file, in bytes. If given, the upload must have exactly this size."
    )


class PreparedUpload(Shape):
    upload_id: str
    upload_url: str = Field(description="Upload URL. It needs no API key, and expires.")
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str]
    expires_at: Timestamp


class UploadQuery(Shape):
    model_config = ConfigDict(json_schema_extra=required("signature"))
    signature: str = Field("", description="Token that is part of the uploadUrl.")


class StoredUpload(Shape):
    storage_id: str


class CompleteUploadRequest(Request):
    upload_id: Id
    storage_id: Id | None = Field(
        None, description="`storageId` from the answer to a POST upload. Omit it for PUT uploads."
    )


class File(Shape):
    id: str
    filename: str
    content_type: str
    size_bytes: int
    created_at: Timestamp


class UploadedFile(File):
    file_id: str = Field(description="The same as `id`.")


class TaskFile(File):
    output_name: str | None = Field(description="Output name under the `named` output policy.")


class ListFilesResponse(Page[File]):
    pass


class ListTaskFilesResponse(Page[TaskFile]):
    pass


# Tasks


class InputFile(Request):
    file_id: Id
    snapshot: Snapshot | None = None


class TaskOverrides(Thinking, Limits, Budgeted, Walled, Network):
    runtime: AgentRuntime | None = None
    output_policy: OutputPolicy | None = None
    runtime_region: RuntimeRegion | None = None


NO_REPOSITORIES = (
    "inputRepositories are not supported here. Upload an archive of the repository as an input file, or let the agent"
    " clone it, which needs `internetAccess` or its host in `allowedHosts`."
)


class WithInputs(Request):
    input_repositories: Any = Field(None, description="Not supported. A list that is not empty is refused.")
    input_file_ids: FileIds | None = None
    input_files: Annotated[list[InputFile], Field(max_length=1000)] | None = None

    def input_ids(self) -> list[str]:
        """The file ids of both spellings, each once, in the order given. Raises Unsupported for repositories."""
        if self.input_repositories:
            raise Unsupported(NO_REPOSITORIES)
        return list(dict.fromkeys([*(self.input_file_ids or ()), *(file.file_id for file in self.input_files or ())]))


class Titled(Request):
    title_source: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Accepted for compatibility. It has no effect."
    )


class NewTask(WithInputs, Titled):
    version_id: Id | None = Field(None, description="If omitted, the agent's current version is used.")
    metadata: Metadata | None = None
    overrides: TaskOverrides | None = None
    skills: Skills | None = Field(
        None, description="For this task, beside those of its agent. They need `internetAccess`."
    )
    title: Name | None = Field(
        None, description="Default: the first line of the instructions, or of a conversation's first message."
    )


class CreateTaskRequest(NewTask):
    model_config = ConfigDict(json_schema_extra=required("instructions"))
    instructions: Text | None = Field(None, description="Instructions for the agent.")
    description: Text | None = Field(
        None,
        description="The older name of `instructions`; accepted in its place.",
        json_schema_extra={"deprecated": True},
    )

    @model_validator(mode="after")
    def _told_once(self):
        if self.instructions is None and self.description is None:
            raise fault("instructions", "Field required")
        if self.instructions and self.description and self.instructions != self.description:
            raise fault(
                "description", "is the older name of instructions: give only one of them, or the same text in both"
            )
        self.instructions = self.instructions or self.description
        return self


class UpdateTaskRequest(Titled):
    title: Name | None = None
    mode: TaskModeChange | None = Field(
        None, description="Makes a conversation autonomous: the agent completes the work alone."
    )


class TaskResponseOverrides(Shape):
    """As asked for at dispatch; only what was."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)
    provider: Provider | None = optional()
    has_provider_api_key: bool | None = optional()
    runtime: AgentRuntime | None = optional()
    model: str | None = optional()
    weak_model: str | None = optional()
    internet_access: bool | None = optional()
    allowed_hosts: list[str] | None = optional()
    max_runtime_seconds: int | None = optional()
    soft_finish_after_seconds: int | None = optional()
    max_cost_usd: float | None = optional()
    max_tokens: int | None = optional()
    output_policy: OutputPolicy | None = optional()
    runtime_region: RuntimeRegion | None = optional()
    limits: ResourceLimits | None = optional()
    isolation: Isolation | None = optional()


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


class Execution(Shape):
    """What it runs with in effect."""

    provider: str
    model: str
    weak_model: str | None


class KeptLimit(Shape):
    value: float | None = Field(description="null: no limit.")
    by: LimitKeeper = Field(description="Mechanism that keeps the promise on this machine.")


class KeptLimits(Shape):
    memory_mb: KeptLimit
    cpus: KeptLimit
    processes: KeptLimit
    open_files: KeptLimit
    workspace_mb: KeptLimit


class TaskWalls(Shape):
    """What its container is, or was, kept to; its network was looked at before anything in it ran."""

    isolation: Isolation
    network: NetworkAccess = Field(description="internet: without the host and local networks.")
    limits: KeptLimits
    warnings: list[str] = Field(description="Podman's warnings about limits that it could not set.")


class CurrentModelCall(Shape):
    """A call to the model that is at work."""

    state: ModelCallState = Field(description="`waiting`: no part of the answer has arrived yet.")
    model: str
    attempt: int = Field(description="Number of the attempt: 1, plus the failed calls directly before it.")
    waited_seconds: float = Field(description="Seconds that the call waited for the first part of its answer.")
    received_characters: int = Field(description="Characters of the answer received so far.")


class Task(Shape):
    id: str
    agent_id: str
    agent_name: str
    agent_version_id: str
    container_version_id: str
    mode: TaskMode
    status: TaskStatus
    title: str
    instructions: str
    description: str = Field(
        description="The same as `instructions`, under its older name.", json_schema_extra={"deprecated": True}
    )
    runtime_region: RuntimeRegion
    overrides: TaskResponseOverrides
    metadata: dict[str, Any] = Field(
        description="Metadata from the caller, and `completion` after the task has finished."
    )
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    result: str | None = Field(description="The agent's finish message.")
    error: str | None
    cost_usd: float = Field(description="Container time so far, in USD.")
    container_minutes: float
    token_usage: TokenUsage
    model_call: CurrentModelCall | None = optional(description="Running model call; null if there is none.")
    budget: Budget | None = Field(description="The task's own settings; null if it has none.")
    execution: Execution
    runtime: RuntimeStatus
    skills: list[Skill] = Field(description="Skills of this task, in addition to the agent's.")
    walls: TaskWalls | None = Field(description="null until it has a container.")
    turn_status: TurnStatus | None = Field(description="null when autonomous.")
    turn_number: int | None = Field(description="null when autonomous.")
    session_ttl_seconds: int | None
    hibernate_until_at: Timestamp | None
    wake_due_id: str | None = Field(description="Id of this hibernation. A wake with this id does not end a later one.")
    queue_position: int | None = Field(description="Position in the queue: 1 is next; null if not pending.")
    preparing: str | None = optional(description="Progress of building or pulling the image.")


class TaskPageQuery(PageQuery):
    status: TaskStatus | None = Field(None, description="Only tasks with this status.")
    search: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Only tasks whose title contains this text."
    )


class WorkspaceQuery(PageQuery):
    order: Literal["asc"] = Field("asc", description="Entries, sorted by name.")


class WorkspaceFileQuery(Shape):
    path: Annotated[str, Field(min_length=1, max_length=4096)] = Field(description="Path, as in the list.")


class WorkspaceEntry(Shape):
    path: str = Field(description="Path relative to the workspace, with `/` as separator.")
    type: WorkspaceEntryType = Field(
        description="Only files can be downloaded; `other` is a FIFO, a socket or a device."
    )
    size_bytes: int
    is_executable: bool
    modified_at: Timestamp


class ListWorkspaceResponse(Page[WorkspaceEntry]):
    pass


class ListTasksResponse(Page[Task]):
    pass


# Conversations, and what happened in a task


class MessageOverrides(Thinking, Limits):
    """From this turn on."""


class CreateConversationRequest(NewTask):
    instructions: Text
    message: Text
    session_ttl_seconds: SessionTtl | None = Field(None, description="Maximum wait for the next message, in seconds.")


class CreateMessageRequest(WithInputs):
    content: Text
    overrides: MessageOverrides | None = None


class WakeRequest(Request):
    kind: WakeKind
    message: Text | None = None
    wake_due_id: Id | None = None
    overrides: MessageOverrides | None = None

    @model_validator(mode="after")
    def _message_with_its_kind(self):
        if (self.kind == "message") != (self.message is not None):
            raise fault("message", "is required if kind is message, and not allowed otherwise")
        return self


class Message(Shape):
    id: str
    turn_number: int | None
    attempt_number: int
    role: MessageRole
    status: TurnStatus
    content: str
    error: str | None
    files: list[File]
    token_usage: TokenUsage | None
    cost_usd: float | None
    sequence: int
    created_at: Timestamp


class ListMessagesResponse(Page[Message]):
    pass


class TaskAndMessage(Shape):
    task: Task
    message: Message


class Activity(Shape):
    id: str
    turn_number: int | None
    attempt_number: int
    started_sequence: int
    completed_sequence: int | None
    kind: Literal["tool"] = "tool"
    call_id: str
    tool_key: str = Field(examples=["shell"])
    input: Any
    input_omitted_reason: str | None
    status: Outcome | None = Field(description="null while it runs.")
    error_code: str | None
    started_at: Timestamp
    completed_at: Timestamp | None
    duration_ms: int | None = Field(description="Time from startedAt to completedAt; null while it runs.")


class ListActivitiesResponse(Page[Activity]):
    pass


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


# What happened: the `data` of each event, as the stream sends it and as pages list it. `history` writes it.

TaskUpdate = TypeAliasType("TaskUpdate", Literal[tuple(sorted({*lifecycle.EVENTS, "created", "turn", "mode"}))])


class EventData(Shape):
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)


class TaskUpdatedData(EventData):
    type: Literal["task.updated"]
    event: TaskUpdate = Field(description="Event of the task.")
    status: TaskStatus = Field(description="Status after the event.")
    from_: TaskStatus = optional(alias="from", description="Status before the event, if it changed.")
    result: str = optional(description="The agent's finish message.")
    error: str = optional(description="Why it failed.")
    reason: str = optional(description="Reason for an interruption, a hibernation or a wake.")
    mode: TaskMode = optional()
    turn_number: int = optional()
    turn_status: TurnStatus = optional()


class MessageCreatedData(EventData):
    type: Literal["message.created"]
    id: str
    role: MessageRole
    status: TurnStatus
    content: str
    turn_number: int | None


class MessageUpdatedData(EventData):
    type: Literal["message.updated"]
    id: str
    role: MessageRole
    status: TurnStatus
    error: str | None = optional()
    added: str = optional(description="Further text of the agent. The answer continues.")
    content: str = optional(description="The whole answer, after its end.")


class MessageDeltaData(EventData):
    """Live only: it is never stored, and has no `id:` in the stream."""

    type: Literal["message.delta"]
    text: str = Field(description="Next part of the answer. `message.updated` repeats the whole text.")


class ModelCallData(EventData):
    """Live only, each second while a call to the model is at work: it is never stored, and has no `id:`."""

    type: Literal["model.call"]
    state: ModelCallState = Field(description="`waiting`: no part of the answer has arrived yet.")
    model: str
    attempt: int = Field(description="Number of the attempt: 1, plus the failed calls directly before it.")
    waited_seconds: float = Field(description="Seconds that the call waited for the first part of its answer.")
    received_characters: int = Field(description="Characters of the answer received so far.")


class ActivityStartedData(EventData):
    type: Literal["activity.started"]
    id: str
    call_id: str
    tool_key: str = Field(examples=["shell"])
    input: Any = Field(description="Input of the tool; null if it was too large.")


class ActivityOutputData(EventData):
    """Live only: it is never stored, and has no `id:` in the stream."""

    type: Literal["activity.output"]
    id: str
    call_id: str
    tool_key: str = Field(examples=["shell"])
    text: str = Field(description="Latest output of the tool. It replaces the previous event.")


class ActivityCompletedData(EventData):
    type: Literal["activity.completed"]
    id: str
    call_id: str
    tool_key: str = Field(examples=["shell"])
    status: Outcome
    error_code: str | None
    duration_ms: int
    output: str | None = Field(description="Result of the tool; null if it was interrupted.")


class NoticeData(EventData):
    """Something that an operator may want to know, such as a failed model call that is tried again."""

    type: Literal["notice"]
    kind: str = Field(examples=["retrying"])
    message: str = optional()
    attempt: int = optional(description="For `retrying`: number of calls that failed in a row.")
    delay_ms: int = optional(description="For `retrying`: wait before the next attempt.")
    reason: str = optional()
    host: str | None = optional(description="For `egress_denied`: host and port of the refused connection.")
    port: int | None = optional()
    addresses: list[str] = optional()


TaskEventData = TypeAliasType(
    "TaskEventData",
    Annotated[
        TaskUpdatedData
        | MessageCreatedData
        | MessageUpdatedData
        | MessageDeltaData
        | ModelCallData
        | ActivityStartedData
        | ActivityOutputData
        | ActivityCompletedData
        | NoticeData,
        Field(discriminator="type"),
    ],
)
TaskEventName = TypeAliasType(
    "TaskEventName",
    Literal[
        "task.updated",
        "message.created",
        "message.updated",
        "message.delta",
        "model.call",
        "activity.started",
        "activity.output",
        "activity.completed",
        "notice",
    ],
)


class _Written:
    """It is sent as it was stored, which nobody checks again, but documented as what it is."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return handler(TypeAdapter(TaskEventData).core_schema)


class TaskEvent(Shape):
    """One thing that happened, as the stream sends it: `id:` and `event:` lines, and `data` as its data."""

    id: int = Field(description="Increasing number. Resume with `?after=` or `Last-Event-ID`.")
    event: TaskEventName
    data: Annotated[Any, _Written()]
    created_at: Timestamp


class EventQuery(PageQuery):
    order: Order = Field("asc", description="Oldest first (asc) or newest first (desc).")
    stream: bool = Field(False, description="Server-sent events instead of a page.")
    after: int | None = Field(None, ge=0, le=MAX_BYTES, description="Only events with a greater number.")
    api_key: str | None = Field(None, description="The API key, for browsers' EventSource, which can't send headers.")


class ActivityQuery(PageQuery):
    from_turn: int | None = Field(None, ge=0, le=MAX_BYTES)
    to_turn: int | None = Field(None, ge=0, le=MAX_BYTES)


class ListTaskEventsResponse(Page[TaskEvent]):
    pass
