// The main job on openapi-fetch with the types that openapi-typescript generates.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Task = components["schemas"]["Task"];

const { BASE_URL = "", KEY = "", INSTRUCTIONS = "" } = process.env;
const client = createClient<paths>({ baseUrl: BASE_URL, headers: { Authorization: `Bearer ${KEY}` } });

function must<T>({ data, error }: { data?: T; error?: { error: components["schemas"]["ErrorDetail"] } }): T {
  if (data === undefined) throw new Error(error?.error.message);
  return data;
}

const content = "n\n1\n2\n3\n";
const prepared = must(await client.POST("/api/v1/uploads/prepare", { body: { filename: "numbers.csv", sizeBytes: content.length } }));
must(await client.PUT("/api/v1/uploads/{uploadId}/content", {
  params: { path: { uploadId: prepared.uploadId }, query: { signature: new URL(prepared.uploadUrl).searchParams.get("signature") ?? "" } },
  body: content,
  bodySerializer: (body) => body,
  headers: { "content-type": "application/octet-stream" },
}));
const uploaded = must(await client.POST("/api/v1/uploads/complete", { body: { uploadId: prepared.uploadId } }));
if (uploaded.sizeBytes !== content.length) throw new Error(`${uploaded.sizeBytes} bytes were stored`);

let task: Task = must(await client.POST("/api/v1/agents/{agentId}/tasks", {
  params: { path: { agentId: "agt_standard_coding" } },
  body: { instructions: INSTRUCTIONS, inputFileIds: [uploaded.id], overrides: { model: "scripted", maxRuntimeSeconds: 120 } },
}));
const path = { taskId: task.id };
while (task.status === "pending" || task.status === "running") {
  await new Promise((resolve) => setTimeout(resolve, 200));
  task = must(await client.GET("/api/v1/tasks/{taskId}", { params: { path } }));
}
if (task.status !== "finished") throw new Error(task.error ?? task.status);
const files = must(await client.GET("/api/v1/tasks/{taskId}/files", { params: { path } }));
const fileId = files.data[0]?.id ?? "";
process.stdout.write(must(await client.GET("/api/v1/tasks/{taskId}/files/{fileId}", { params: { path: { ...path, fileId } }, parseAs: "text" })));

const events = must(await client.GET("/api/v1/tasks/{taskId}/events", { params: { path } }));
if (typeof events === "string") throw new Error("a stream was not asked for");
const moves = events.data.flatMap(({ data }) => (data.type === "task.updated" ? [data.status] : []));
if (moves.at(-1) !== "finished") throw new Error(`the events end with ${moves.at(-1)}`);

const { error } = await client.GET("/api/v1/tasks/{taskId}", { params: { path: { taskId: "tsk_missing" } } });
if (error?.error.code !== "not_found") throw new Error("a missing task is an error with a code");
