"""Closed lists of words. Each has a name in the OpenAPI document too, so that generated clients agree on it."""

from typing import Literal

from typing_extensions import TypeAliasType

from agentcontainer_local import lifecycle, providers

Provider = TypeAliasType("Provider", providers.Name)
RuntimeRegion = TypeAliasType("RuntimeRegion", Literal["any", "eu"])
AgentRuntime = TypeAliasType("AgentRuntime", Literal["pi"])
ContainerPreset = TypeAliasType("ContainerPreset", Literal["coding", "data-processing", "document-analysis"])
ContractVersion = TypeAliasType("ContractVersion", Literal["1"])
TaskMode = TypeAliasType("TaskMode", Literal["autonomous", "conversation"])
TaskStatus = TypeAliasType("TaskStatus", Literal[lifecycle.STATUSES])  # type: ignore[valid-type]  # computed
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
ProviderApi = TypeAliasType("ProviderApi", providers.Api)
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
