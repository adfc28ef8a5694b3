"""Files and uploads."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from agentcontainer_local.errors import Unsupported
from agentcontainer_local.schemas.base import Request, Shape, required
from agentcontainer_local.schemas.enums import Snapshot
from agentcontainer_local.schemas.fields import MAX_INTEGER, Id, Timestamp, whole
from agentcontainer_local.schemas.pages import Page, PublishedPage

FileIds = Annotated[list[Id], Field(max_length=1000)]
# A directory, packed as a tar archive of plain files and directories: unpacked in the workspace, and by the command.
DIRECTORY = "application/x-tar; directory=true"


class PrepareUploadRequest(Request):
    filename: Annotated[str, Field(min_length=1, max_length=1000)]
    content_type: Annotated[str, Field(max_length=255, pattern=r"^[ -~]*$")] | None = None
    size_bytes: Annotated[int, Field(ge=0, le=MAX_INTEGER), BeforeValidator(whole)] | None = Field(
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


class ListTaskFilesResponse(PublishedPage[TaskFile]):
    pass


class InputFile(Request):
    file_id: Id
    snapshot: Snapshot | None = None


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
