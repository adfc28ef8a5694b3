"""The main job with the pydantic models that datamodel-code-generator generates, and httpx."""

import os
import sys
import time

import httpx
import models
from httpx_sse import connect_sse
from pydantic import BaseModel

headers = {"Authorization": f"Bearer {os.environ['KEY']}"}
client = httpx.Client(base_url=os.environ["BASE_URL"] + "/api/v1", headers=headers)


def post(path: str, body: BaseModel) -> bytes:
    sent = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return client.post(path, json=sent).raise_for_status().content


content = b"n\n1\n2\n3\n"
wanted = models.PrepareUploadRequest(filename="numbers.csv", size_bytes=len(content))
prepared = models.PreparedUpload.model_validate_json(post("/uploads/prepare", wanted))
sent = client.put(prepared.upload_url, content=content, headers={"content-type": "text/csv"}).raise_for_status()
models.StoredUpload.model_validate_json(sent.content)
complete = models.CompleteUploadRequest(upload_id=prepared.upload_id)
uploaded = models.UploadedFile.model_validate_json(post("/uploads/complete", complete))
assert uploaded.size_bytes == len(content)

body = models.CreateTaskRequest(
    instructions=os.environ["INSTRUCTIONS"],
    input_file_ids=[models.InputFileId(uploaded.id)],
    overrides=models.TaskOverrides(model="scripted", max_runtime_seconds=120),
)
task = models.Task.model_validate_json(post("/agents/agt_standard_coding/tasks", body))

seen: list[str] = []
last = models.TaskStatus.pending
with connect_sse(client, "GET", f"/tasks/{task.id}/events", params={"stream": "true"}, timeout=120) as stream:
    for event in stream.iter_sse():
        data = models.TaskEventData.model_validate(event.json()).root  # each has data
        assert data.type == event.event == models.TaskEventName(event.event).value
        seen.append(event.event)
        if isinstance(data, models.TaskUpdatedData):
            last = data.status
assert last is models.TaskStatus.finished and "activity.completed" in seen
while task.status in (models.TaskStatus.pending, models.TaskStatus.running):
    time.sleep(0.2)
    task = models.Task.model_validate_json(client.get(f"/tasks/{task.id}").content)
assert task.status is models.TaskStatus.finished, task.error
files = models.ListTaskFilesResponse.model_validate_json(client.get(f"/tasks/{task.id}/files").content)
sys.stdout.write(client.get(f"/tasks/{task.id}/files/{files.data[0].id}").text)

missing = models.ErrorResponse.model_validate_json(client.get("/tasks/tsk_missing").content)
assert missing.error.code == "not_found"
