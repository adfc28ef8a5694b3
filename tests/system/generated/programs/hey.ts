// The main job on the client that hey-api generates.
import { client } from "./client/client.gen.js";
import { completeUpload, createTask, downloadTaskFile, getTask, listEvents, listTaskFiles, prepareUpload, putUpload } from "./client/sdk.gen.js";
import type { Task } from "./client/types.gen.js";

const { BASE_URL = "", KEY = "", INSTRUCTIONS = "" } = process.env;
client.setConfig({ baseUrl: BASE_URL, auth: KEY });
const throwOnError = true;

const content = "n\n1\n2\n3\n";
const { data: prepared } = await prepareUpload({ body: { filename: "numbers.csv", sizeBytes: content.length }, throwOnError });
const signature = new URL(prepared.uploadUrl).searchParams.get("signature") ?? "";
await putUpload({ path: { uploadId: prepared.uploadId }, query: { signature }, body: new Blob([content]), throwOnError });
const { data: uploaded } = await completeUpload({ body: { uploadId: prepared.uploadId }, throwOnError });
if (uploaded.sizeBytes !== content.length) throw new Error(`${uploaded.sizeBytes} bytes were stored`);

const overrides = { model: "scripted", maxRuntimeSeconds: 120 };
const body = { instructions: INSTRUCTIONS, inputFileIds: [uploaded.id], overrides };
let task: Task = (await createTask({ path: { agentId: "agt_standard_coding" }, body, throwOnError })).data;
const path = { taskId: task.id };
while (task.status === "pending" || task.status === "running") {
  await new Promise((resolve) => setTimeout(resolve, 200));
  task = (await getTask({ path, throwOnError })).data;
}
if (task.status !== "finished") throw new Error(task.error ?? task.status);
const { data: files } = await listTaskFiles({ path, throwOnError });
const { data: output } = await downloadTaskFile({ path: { ...path, fileId: files.data[0]?.id ?? "" }, parseAs: "text", throwOnError });
process.stdout.write(String(output));

const { data: events } = await listEvents({ path, throwOnError });
const moves = (events?.data ?? []).flatMap(({ data }) => (data.type === "task.updated" ? [data.status] : []));
if (moves.at(-1) !== "finished") throw new Error(`the events end with ${moves.at(-1)}`);

const { error } = await getTask({ path: { taskId: "tsk_missing" } });
if (error?.error.code !== "not_found") throw new Error("a missing task is an error with a code");
