"""The rows of tables as `SELECT *` reads them. JSON, dates and encrypted keys are as stored.

Tests compare these types with the tables. Queries of other columns return a plain `Row`.
"""

from typing import NotRequired, TypedDict

from agentcontainer_local.schemas.enums import MessageRole, Provider, TaskMode, TaskStatus, TurnStatus


class Task(TypedDict):
    number: int
    id: str
    account_id: str
    agent_id: str
    agent_version_id: str
    container_version_id: str
    mode: TaskMode
    status: TaskStatus
    title: str
    instructions: str
    metadata: str  # JSON
    overrides: str  # JSON, with the API's names
    provider_api_key: bytes | None
    provider: Provider
    model: str
    weak_model: str | None
    internet_access: int
    allowed_hosts: str  # JSON
    max_runtime_seconds: int
    soft_finish_after_seconds: int | None
    max_cost_microusd: int | None
    max_tokens: int | None
    output_policy: str  # JSON
    runtime_region: str
    session_ttl_seconds: int | None
    turn_number: int | None
    turn_status: TurnStatus | None
    hibernate_until: str | None
    wake_due_id: str | None
    to_tell: str | None
    expires_at: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None
    result: str | None
    completion: str | None
    error: str | None
    running_since: str | None
    used_ms: int
    turn_used_ms: int
    attempt_number: int
    deaths: int
    has_container: int
    spent_microusd: int
    spent_tokens: int
    budget_told_at: str | None
    budget_asked_at: str | None
    budget_error: str | None
    workspace_removed_at: str | None
    kept_bytes: int
    swept_at: str | None
    hibernate_is_relative: int
    ended_on: str | None
    learned_window: int | None
    skills: str  # JSON
    # Not columns: only in a complete task (tasks.whole), which in turn lacks columns that the API does not show.
    has_provider_api_key: NotRequired[int]
    agent_name: NotRequired[str]
    image: NotRequired[str | None]
    walls: NotRequired[str | None]
    queue_position: NotRequired[int | None]


class Run(TypedDict):
    number: int
    id: str
    task_id: str
    image: str | None
    container_id: str | None
    guest_seq: int
    nudges: int
    opened_at: str | None
    soft_told_at: str | None
    budget_asked_at: str | None
    settled_at: str | None
    settled_error: str | None
    last_words: str | None
    launched: str | None
    walls: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    base_url: str | None
    provider_key: bytes | None


class Message(TypedDict):
    number: int
    id: str
    task_id: str
    turn_number: int | None
    attempt_number: int
    role: MessageRole
    status: str
    content: str
    error: str | None
    overrides: str
    provider_api_key: bytes | None
    run_id: str | None
    sequence: int
    created_at: str


class AgentVersion(TypedDict):
    id: str
    agent_id: str
    number: int
    container_version_id: str
    base_prompt: str
    defaults: str  # JSON, with the API's names
    provider_api_key: bytes | None
    skills: str  # JSON
    created_at: str
