"""The main job on the client that openapi-python-client generates."""

import os
import sys
import time
from io import BytesIO

from agent_container_api_client import AuthenticatedClient
from agent_container_api_client.api.files import complete_upload, prepare_upload, put_upload
from agent_container_api_client.api.tasks import create_task, download_task_file, get_task, list_events, list_task_files
from agent_container_api_client.models import (
    CompleteUploadRequest,
    CreateTaskRequest,
    ErrorResponse,
    ListTaskEventsResponse,
    ListTaskFilesResponse,
    PreparedUpload,
    PrepareUploadRequest,
    StoredUpload,
    Task,
    TaskOverrides,
    TaskStatus,
    TaskUpdatedData,
    UploadedFile,
)
from agent_container_api_client.types import File

client = AuthenticatedClient(base_url=os.environ["BASE_URL"], token=os.environ["KEY"])
content = b"n\n1\n2\n3\n"
prepared = prepare_upload.sync(client=client, body=PrepareUploadRequest("numbers.csv", size_bytes=len(content)))
assert isinstance(prepared, PreparedUpload)
signature = prepared.upload_url.partition("signature=")[2]
sent = put_upload.sync(prepared.upload_id, client=client, body=File(BytesIO(content)), signature=signature)
assert isinstance(sent, StoredUpload)
uploaded = complete_upload.sync(client=client, body=CompleteUploadRequest(prepared.upload_id))
assert isinstance(uploaded, UploadedFile) and uploaded.size_bytes == len(content)

body = CreateTaskRequest(
    os.environ["INSTRUCTIONS"],
    input_file_ids=[uploaded.id],
    overrides=TaskOverrides(model="scripted", max_runtime_seconds=120),
)
task = create_task.sync("agt_standard_coding", client=client, body=body)
assert isinstance(task, Task)
while task.status in (TaskStatus.PENDING, TaskStatus.RUNNING):
    time.sleep(0.2)
    task = get_task.sync(task.id, client=client)
    assert isinstance(task, Task)
assert task.status is TaskStatus.FINISHED, task.error
files = list_task_files.sync(task.id, client=client)
assert isinstance(files, ListTaskFilesResponse)
output = download_task_file.sync(task.id, files.data[0].id, client=client)
assert isinstance(output, File)
sys.stdout.write(output.payload.read().decode())

events = list_events.sync(task.id, client=client)
assert isinstance(events, ListTaskEventsResponse)
moves = [event.data.status for event in events.data if isinstance(event.data, TaskUpdatedData)]
assert moves[-1] is TaskStatus.FINISHED

missing = get_task.sync("tsk_missing", client=client)
assert isinstance(missing, ErrorResponse) and missing.error.code == "not_found"
