"""Every shape on the wire: what requests may carry and what answers look like.

Names follow the published reference; attributes are snake_case, the wire is camelCase. Requests are strict: an unknown
field or a wrong type is refused. In requests absent and null mean the same; the one exception are the defaults in a
patch of an agent, where null takes away a key and what else is in REMOVABLE (see `patch.model_fields_set`).
"""

from agentcontainer_local.schemas.account import Account, StorageUse, WallFigures
from agentcontainer_local.schemas.agents import (
    Agent,
    AgentContainer,
    AgentImage,
    AgentVersion,
    AttachReferenceFilesRequest,
    CreateAgentRequest,
    ListAgentsResponse,
    ListAgentVersionsResponse,
    UpdateAgentRequest,
)
from agentcontainer_local.schemas.base import Request, Shape, optional
from agentcontainer_local.schemas.budgets import AccountBudget, Budget, Budgeted, BudgetRequest
from agentcontainer_local.schemas.containers import (
    Container,
    ContainerExecution,
    ContainerVersion,
    CreateContainerRequest,
    ForkResourceRequest,
    ListContainersResponse,
    ListContainerVersionsResponse,
    RuntimeStatus,
    UpdateContainerRequest,
)
from agentcontainer_local.schemas.conversations import (
    Activity,
    ActivityQuery,
    CreateConversationRequest,
    CreateMessageRequest,
    ListActivitiesResponse,
    ListMessagesResponse,
    Message,
    TaskAndMessage,
    WakeRequest,
)
from agentcontainer_local.schemas.credit import AddCreditRequest, Credit, CreditEntry, ListCreditEntriesResponse
from agentcontainer_local.schemas.doctor import Check, Doctor, Proof, WallCheck
from agentcontainer_local.schemas.enums import (
    AgentRuntime,
    BillingMode,
    CheckStatus,
    ContainerPreset,
    ContractVersion,
    CreditEntryKind,
    Isolation,
    KeyScope,
    KeySource,
    LimitKeeper,
    MessageRole,
    ModelCallState,
    NetworkAccess,
    Order,
    Outcome,
    Provider,
    ProviderApi,
    RuntimeRegion,
    Snapshot,
    TaskMode,
    TaskModeChange,
    TaskStatus,
    TurnStatus,
    WakeKind,
    WallStatus,
    WorkspaceEntryType,
)
from agentcontainer_local.schemas.errors import ErrorDetail, ErrorResponse
from agentcontainer_local.schemas.events import (
    ActivityCompletedData,
    ActivityOutputData,
    ActivityStartedData,
    EventQuery,
    ListTaskEventsResponse,
    MessageCreatedData,
    MessageDeltaData,
    MessageUpdatedData,
    ModelCallData,
    NoticeData,
    TaskEvent,
    TaskEventData,
    TaskEventName,
    TaskUpdate,
    TaskUpdatedData,
)
from agentcontainer_local.schemas.fields import (
    MAX_INTEGER,
    MAX_RUNTIME_SECONDS,
    MAX_WINDOW_TOKENS,
    SECRET,
    URL,
    Model,
    Name,
    Seconds,
    Secret,
    Timestamp,
)
from agentcontainer_local.schemas.files import (
    DIRECTORY,
    CompleteUploadRequest,
    File,
    InputFile,
    ListFilesResponse,
    ListTaskFilesResponse,
    PreparedUpload,
    PrepareUploadRequest,
    StoredUpload,
    TaskFile,
    UploadedFile,
    UploadQuery,
    WithInputs,
)
from agentcontainer_local.schemas.keys import ApiKey, CreatedApiKey, CreateKeyRequest, ListApiKeysResponse
from agentcontainer_local.schemas.limits import KeptLimit, KeptLimits, ResourceLimits, TaskWalls
from agentcontainer_local.schemas.network import ALLOWED_AND_OPEN
from agentcontainer_local.schemas.outputs import (
    AnyOutput,
    AtLeastOneOutput,
    NamedOutput,
    NoOutput,
    OutputDescriptor,
    OutputPolicy,
)
from agentcontainer_local.schemas.pages import Page, PageInfo, PageQuery, TaskFilesQuery, TranscriptQuery
from agentcontainer_local.schemas.providers import (
    Execution,
    ListProvidersResponse,
    ModelSettings,
    ProviderStatus,
    UpdateProviderRequest,
)
from agentcontainer_local.schemas.skills import Skill, SkillRequest, Skills
from agentcontainer_local.schemas.task_settings import (
    REMOVABLE,
    AgentDefaults,
    AgentVersionDefaults,
    MessageOverrides,
    TaskOverrides,
    TaskResponseOverrides,
    UpdateAgentDefaults,
)
from agentcontainer_local.schemas.tasks import (
    CreateTaskRequest,
    ListTasksResponse,
    NewTask,
    Task,
    TaskPageQuery,
    Titled,
    UpdateTaskRequest,
)
from agentcontainer_local.schemas.usage import (
    CurrentModelCall,
    ListModelCallsResponse,
    ModelCall,
    ModelUsage,
    TokenUsage,
)
from agentcontainer_local.schemas.workspaces import (
    ListWorkspaceResponse,
    WorkspaceEntry,
    WorkspaceFileQuery,
    WorkspaceQuery,
)

__all__ = [
    "ALLOWED_AND_OPEN", "Account", "AccountBudget", "Activity", "ActivityCompletedData", "ActivityOutputData",
    "ActivityQuery", "ActivityStartedData", "AddCreditRequest", "Agent", "AgentContainer", "AgentDefaults",
    "AgentImage", "AgentRuntime", "AgentVersion", "AgentVersionDefaults", "AnyOutput", "ApiKey", "AtLeastOneOutput",
    "AttachReferenceFilesRequest", "BillingMode", "Budget", "BudgetRequest", "Budgeted", "Check", "CheckStatus",
    "CompleteUploadRequest", "Container", "ContainerExecution", "ContainerPreset", "ContainerVersion",
    "ContractVersion", "CreateAgentRequest", "CreateContainerRequest", "CreateConversationRequest",
    "CreateKeyRequest", "CreateMessageRequest", "CreateTaskRequest", "CreatedApiKey", "Credit", "CreditEntry",
    "CreditEntryKind", "CurrentModelCall", "DIRECTORY", "Doctor", "ErrorDetail", "ErrorResponse", "EventQuery",
    "Execution", "File", "ForkResourceRequest", "InputFile", "Isolation", "KeptLimit", "KeptLimits", "KeyScope",
    "KeySource", "LimitKeeper", "ListActivitiesResponse", "ListAgentVersionsResponse",
    "ListAgentsResponse", "ListApiKeysResponse", "ListContainerVersionsResponse", "ListContainersResponse",
    "ListCreditEntriesResponse", "ListFilesResponse", "ListMessagesResponse", "ListModelCallsResponse",
    "ListProvidersResponse", "ListTaskEventsResponse", "ListTaskFilesResponse", "ListTasksResponse",
    "ListWorkspaceResponse", "MAX_INTEGER", "MAX_RUNTIME_SECONDS", "MAX_WINDOW_TOKENS", "Message", "MessageCreatedData",
    "MessageDeltaData", "MessageOverrides", "MessageRole", "MessageUpdatedData", "Model", "ModelCall",
    "ModelCallData", "ModelCallState", "ModelSettings", "ModelUsage", "Name", "NamedOutput",
    "NetworkAccess", "NewTask", "NoOutput", "NoticeData", "Order", "Outcome", "OutputDescriptor", "OutputPolicy",
    "Page", "PageInfo", "PageQuery", "PrepareUploadRequest", "PreparedUpload", "Proof", "Provider", "ProviderApi",
    "ProviderStatus", "REMOVABLE", "Request", "ResourceLimits", "RuntimeRegion", "RuntimeStatus", "SECRET",
    "Seconds", "Secret", "Shape", "Skill", "SkillRequest", "Skills", "Snapshot", "StorageUse", "StoredUpload",
    "Task", "TaskAndMessage", "TaskEvent", "TaskEventData", "TaskEventName", "TaskFile", "TaskFilesQuery", "TaskMode",
    "TaskModeChange", "TaskOverrides", "TaskPageQuery", "TaskResponseOverrides", "TaskStatus", "TaskUpdate",
    "TaskUpdatedData", "TaskWalls", "Timestamp", "Titled", "TokenUsage", "TranscriptQuery", "TurnStatus", "URL",
    "UpdateAgentDefaults", "UpdateAgentRequest", "UpdateContainerRequest", "UpdateProviderRequest",
    "UpdateTaskRequest", "UploadQuery", "UploadedFile", "WakeKind", "WakeRequest", "WallCheck", "WallFigures",
    "WallStatus", "WithInputs", "WorkspaceEntry", "WorkspaceEntryType", "WorkspaceFileQuery",
    "WorkspaceQuery", "optional",
]  # fmt: skip
