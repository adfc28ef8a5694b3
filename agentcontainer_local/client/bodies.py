"""The requests' shapes as TypedDicts, with which a type checker finds a misspelt or missing field.

Made out of the schemas by `python -m tests.client_bodies`; a test compares the two.
"""

from typing import Any, Literal, Required, TypedDict


class Budget(TypedDict, total=False):
    max_cost_usd: float | None
    max_tokens: int | None


class UpdateProvider(TypedDict, total=False):
    api_key: str | None
    base_url: str | None
    is_default: bool | None
    api: Literal["responses", "chat-completions", "messages"] | None
    model: str | None
    context_window: int | None
    max_output_tokens: int | None
    images: bool | None
    free: bool | None


class CreateContainer(TypedDict, total=False):
    container_preset: Literal["coding", "data-processing", "document-analysis"] | None
    container_image: str | None
    writable_paths: list[str] | None
    container_contract_version: Literal["1"] | None
    name: Required[str]
    description: str | None


class UpdateContainer(TypedDict, total=False):
    container_preset: Literal["coding", "data-processing", "document-analysis"] | None
    container_image: str | None
    writable_paths: list[str] | None
    container_contract_version: Literal["1"] | None
    name: str | None
    description: str | None


class ForkResource(TypedDict, total=False):
    name: str | None
    description: str | None


class AgentImage(TypedDict, total=False):
    container_image: Required[str]
    agent_runtime: Required[Literal["pi"]]
    writable_paths: list[str] | None


class ResourceLimits(TypedDict, total=False):
    memory_mb: int | None
    cpus: float | None
    processes: int | None
    open_files: int | None
    workspace_mb: int | None


class AnyOutput(TypedDict, total=False):
    mode: Required[Literal["any"]]


class NoOutput(TypedDict, total=False):
    mode: Required[Literal["none"]]


class AtLeastOneOutput(TypedDict, total=False):
    mode: Required[Literal["at_least_one"]]


class OutputDescriptor(TypedDict, total=False):
    name: Required[str]
    description: str | None


class NamedOutput(TypedDict, total=False):
    mode: Required[Literal["named"]]
    files: Required[list[OutputDescriptor]]


class AgentDefaults(TypedDict, total=False):
    internet_access: Required[bool]
    allowed_hosts: list[str] | None
    limits: ResourceLimits | None
    isolation: Literal["container", "gvisor"] | None
    max_cost_usd: float | None
    max_tokens: int | None
    max_runtime_seconds: Required[int]
    soft_finish_after_seconds: int | None
    provider: Literal["anthropic", "openrouter", "openai"] | None
    provider_api_key: str | None
    model: Required[str]
    weak_model: str | None
    output_policy: AnyOutput | NoOutput | AtLeastOneOutput | NamedOutput | None
    runtime_region: Literal["any", "eu"] | None


class Skill(TypedDict, total=False):
    skill: Required[str]
    ssh_key_id: str | None


class CreateAgent(TypedDict, total=False):
    container_id: str | None
    container_version_id: str | None
    runtime: AgentImage | None
    name: Required[str]
    description: str | None
    base_prompt: Required[str]
    defaults: Required[AgentDefaults]
    skills: list[Skill] | None


class UpdateAgentDefaults(TypedDict, total=False):
    internet_access: bool | None
    allowed_hosts: list[str] | None
    limits: ResourceLimits | None
    isolation: Literal["container", "gvisor"] | None
    max_cost_usd: float | None
    max_tokens: int | None
    max_runtime_seconds: int | None
    soft_finish_after_seconds: int | None
    provider: Literal["anthropic", "openrouter", "openai"] | None
    provider_api_key: str | None
    model: str | None
    weak_model: str | None
    output_policy: AnyOutput | NoOutput | AtLeastOneOutput | NamedOutput | None
    runtime_region: Literal["any", "eu"] | None


class UpdateAgent(TypedDict, total=False):
    container_id: str | None
    container_version_id: str | None
    runtime: AgentImage | None
    name: str | None
    description: str | None
    base_prompt: str | None
    defaults: UpdateAgentDefaults | None
    skills: list[Skill] | None


class CreateKey(TypedDict, total=False):
    name: Required[str]
    scope: Literal["all", "metrics"] | None
    expires_in_seconds: int | None


class InputFile(TypedDict, total=False):
    file_id: Required[str]
    snapshot: Literal["include"] | None


class TaskOverrides(TypedDict, total=False):
    internet_access: bool | None
    allowed_hosts: list[str] | None
    limits: ResourceLimits | None
    isolation: Literal["container", "gvisor"] | None
    max_cost_usd: float | None
    max_tokens: int | None
    max_runtime_seconds: int | None
    soft_finish_after_seconds: int | None
    provider: Literal["anthropic", "openrouter", "openai"] | None
    provider_api_key: str | None
    model: str | None
    weak_model: str | None
    runtime: Literal["pi"] | None
    output_policy: AnyOutput | NoOutput | AtLeastOneOutput | NamedOutput | None
    runtime_region: Literal["any", "eu"] | None


class CreateTask(TypedDict, total=False):
    title_source: str | None
    input_file_ids: list[str] | None
    input_files: list[InputFile] | None
    version_id: str | None
    metadata: dict[str, Any] | None
    overrides: TaskOverrides | None
    skills: list[Skill] | None
    title: str | None
    instructions: Required[str]


class UpdateTask(TypedDict, total=False):
    title_source: str | None
    title: str | None
    mode: Literal["autonomous"] | None


class MessageOverrides(TypedDict, total=False):
    max_runtime_seconds: int | None
    soft_finish_after_seconds: int | None
    provider: Literal["anthropic", "openrouter", "openai"] | None
    provider_api_key: str | None
    model: str | None
    weak_model: str | None


class Wake(TypedDict, total=False):
    kind: Literal["message", "external_wake"]
    message: str | None
    wake_due_id: str | None
    overrides: MessageOverrides | None


class CreateConversation(TypedDict, total=False):
    title_source: str | None
    input_file_ids: list[str] | None
    input_files: list[InputFile] | None
    version_id: str | None
    metadata: dict[str, Any] | None
    overrides: TaskOverrides | None
    skills: list[Skill] | None
    title: str | None
    instructions: Required[str]
    message: Required[str]
    session_ttl_seconds: int | None


class CreateMessage(TypedDict, total=False):
    input_file_ids: list[str] | None
    input_files: list[InputFile] | None
    content: Required[str]
    overrides: MessageOverrides | None
