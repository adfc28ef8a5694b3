// Fills Node's compile cache: runs Pi once for each provider against a small model of its own, and starts our programs.
// Makes the snapshot of Pi, and keeps it only if Pi started from it sends the same requests.
// Prints the ids of the models that Pi knows, and why there is no snapshot. The host runs it once when it makes the
// runtime, and never for a task.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { SNAPSHOT } from "./launch.mjs";

const ROOT = "/opt/agentcontainer";
const AGENT_DIR = "/var/lib/agentcontainer/pi";
const WORKSPACE = "/workspace";
const RUN_DIR = "/run/agentcontainer";
const SESSIONS = "/tmp/sessions";
const ESBUILD = "/esbuild/node_modules/esbuild";
const PATIENCE_MS = 60_000;
const BUILD_PATIENCE_MS = 180_000;

// As in a container.
const ENV = {
  PATH: process.env.PATH,
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
  HOME: WORKSPACE,
  JITI_TRY_NATIVE: "1",
  PI_CODING_AGENT_DIR: AGENT_DIR,
  PI_OFFLINE: "1",
  PI_TELEMETRY: "0",
  PI_SKIP_VERSION_CHECK: "1",
};
const MODELS = [
  ["anthropic", "claude-sonnet-4-5"],
  ["openai", "gpt-5"],
  ["openrouter", "openai/gpt-5"],
  ["openrouter", "anthropic/claude-sonnet-4.5"],
];
const READ = JSON.stringify({ path: "TASK.md" });
const ANTHROPIC_BLOCKS = {
  text: [{ type: "text", text: "" }, { type: "text_delta", text: "ready" }],
  tool: [
    { type: "tool_use", id: "toolu_1", name: "read", input: {} },
    { type: "input_json_delta", partial_json: READ },
  ],
};

function anthropic(kind) {
  const usage = { input_tokens: 1, output_tokens: 1 };
  const head = { id: "msg_1", type: "message", role: "assistant", model: "m" };
  const [content_block, delta] = ANTHROPIC_BLOCKS[kind];
  return [
    { type: "message_start", message: { ...head, content: [], stop_reason: null, usage } },
    { type: "content_block_start", index: 0, content_block },
    { type: "content_block_delta", index: 0, delta },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: kind === "tool" ? "tool_use" : "end_turn" }, usage },
    { type: "message_stop" },
  ];
}

function responses(kind) {
  const call = { type: "function_call", id: "fc_1", call_id: "call_1", name: "read", arguments: READ };
  const content = [{ type: "output_text", text: "ready", annotations: [] }];
  const message = { type: "message", id: "msg_1", role: "assistant", content };
  const item = { ...(kind === "tool" ? call : message), status: "completed" };
  const response = { id: "resp_1", object: "response", model: "m", status: "completed", output: [item] };
  const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
  return [
    { type: "response.created", response: { ...response, status: "in_progress", output: [] } },
    { type: "response.output_item.added", output_index: 0, item: { ...item, status: "in_progress" } },
    { type: "response.output_item.done", output_index: 0, item },
    { type: "response.completed", response: { ...response, usage } },
  ];
}

function completions(kind) {
  const call = { index: 0, id: "call_1", type: "function", function: { name: "read", arguments: READ } };
  const delta = kind === "tool" ? { role: "assistant", tool_calls: [call] } : { role: "assistant", content: "ready" };
  const chunk = { id: "c_1", object: "chat.completion.chunk", created: 1, model: "m" };
  return [
    { ...chunk, choices: [{ index: 0, delta, finish_reason: null }] },
    { ...chunk, choices: [{ index: 0, delta: {}, finish_reason: kind === "tool" ? "tool_calls" : "stop" }] },
    { ...chunk, choices: [], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } },
  ];
}

let requests = [];

function answer(request, response) {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const asked = Buffer.concat(parts).toString();
    requests.push({ method: request.method, url: request.url, head: request.rawHeaders, body: asked });
    const kind = /"(tool_result|function_call_output)"|"role": ?"tool"/.test(asked) ? "text" : "tool";
    const speak = { messages: anthropic, responses, completions }[request.url.split("?")[0].split("/").pop()];
    if (!speak) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of speak(kind)) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    return response.end(speak === completions ? "data: [DONE]\n\n" : undefined);
  });
}

function started(argv, timeout = PATIENCE_MS) {
  const child = spawn(process.execPath, argv, { cwd: WORKSPACE, env: ENV, timeout, killSignal: "SIGKILL" });
  child.said = "";
  child.stderr.on("data", (part) => (child.said += part));
  child.ended = new Promise((resolve) => child.on("close", resolve));
  child.stdin.on("error", () => {});
  return child;
}

/** What Pi asks for, and the models that it knows. */
async function runPi(options, provider, model) {
  requests = [];
  rmSync(SESSIONS, { recursive: true, force: true });
  const flags = ["--mode", "rpc", "-na", "-ne", "-e", `${ROOT}/guest/extension.mjs`, "-ns", "-np", "--no-themes"];
  const session = ["--session-dir", SESSIONS, "--session-id", "rehearsal"];
  const choice = ["--provider", provider, "--model", model];
  const pi = started([...options, `${ROOT}/pi/dist/bundle/cli.js`, ...flags, ...session, ...choice]);
  const send = (command) => pi.stdin.write(`${JSON.stringify(command)}\n`);
  let settled = false;
  let known = [];
  let rest = "";
  pi.stdout.on("data", (part) => {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.type === "message_end" && event.message.stopReason === "error") pi.said += event.message.errorMessage;
      if (event.type === "message_end" && event.message.stopReason === "stop") settled = true;
      if (event.type === "response" && event.command === "get_available_models") known = event.data.models;
      if (event.type === "agent_settled") pi.stdin.end();
    }
  });
  send({ id: "state", type: "get_state" });
  send({ id: "models", type: "get_available_models" });
  send({ id: "prompt", type: "prompt", message: "Read TASK.md." });
  const code = await pi.ended;
  if (!settled) throw new Error(`Pi did not answer with ${provider} (exit ${code}): ${pi.said.slice(-2000)}`);
  return { requests, known };
}

async function runPiWithAll(options = []) {
  const runs = [];
  for (const [provider, model] of MODELS) runs.push(await runPi(options, provider, model));
  return runs;
}

async function makeSnapshot() {
  const script = "/tmp/pi.cjs";
  mkdirSync(dirname(SNAPSHOT));
  await carriedOut([`${ROOT}/guest/snapshot/bundle.mjs`, ESBUILD, ROOT, script]);
  await carriedOut(["--no-warnings", "--snapshot-blob", SNAPSHOT, "--build-snapshot", script]);
}

async function carriedOut(argv) {
  const child = started(argv, BUILD_PATIENCE_MS);
  const code = await child.ended;
  if (code !== 0) throw new Error(`node ${argv.join(" ")} failed (exit ${code}): ${child.said.slice(-2000)}`);
}

/** Why there is none; null if there is one, which does as `plain`. */
async function snapshotFailure(plain) {
  try {
    await makeSnapshot();
    const found = await runPiWithAll(["--snapshot-blob", SNAPSHOT]);
    if (isDeepStrictEqual(found, plain)) return null;
    throw new Error("Pi started from it sends other requests.");
  } catch (error) {
    rmSync(dirname(SNAPSHOT), { recursive: true, force: true });
    return error.message;
  }
}

// What these do without a door is their own affair: only that they are compiled counts.
async function touch(program, ...words) {
  if (!existsSync(`${ROOT}/guest/${program}`)) return;
  const child = started([`${ROOT}/guest/${program}`, ...words]);
  child.stdin.end();
  const end = setTimeout(() => child.kill("SIGTERM"), 1000);
  const last = setTimeout(() => child.kill("SIGKILL"), 3000);
  await child.ended;
  clearTimeout(end);
  clearTimeout(last);
}

// The daemon loads most of itself once Pi runs, and keeps what was compiled only if it ends by itself: so a run with
// something in Pi's place, and a door that says at once that the run is over.
async function openDoor() {
  const door = http.createServer((_request, response) => response.writeHead(409).end());
  await new Promise((resolve) => door.listen(`${RUN_DIR}/host.sock`, resolve));
  return door;
}

const server = http.createServer(answer);
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseUrl = `http://127.0.0.1:${server.address().port}`;
mkdirSync(AGENT_DIR, { recursive: true });
writeFileSync(`${WORKSPACE}/TASK.md`, "A task.\n");
writeFileSync(`${AGENT_DIR}/settings.json`, JSON.stringify({ cacheWarming: "off", retry: { enabled: false } }));
const provider = (path) => ({ baseUrl: baseUrl + path, apiKey: "none" });
const providers = {
  anthropic: provider("/anthropic"),
  openai: provider("/openai/v1"),
  openrouter: provider("/openrouter/api/v1"),
};
writeFileSync(`${AGENT_DIR}/models.json`, JSON.stringify({ providers }));
const launch = { mode: "autonomous", argv: [process.execPath, "--version"], model: { provider: "none", id: "none" } };
writeFileSync(`${RUN_DIR}/launch.json`, JSON.stringify({ ...launch, gatewayPort: 0 }));
const plain = await runPiWithAll();
const over = await openDoor();
await touch("daemon.mjs");
over.close();
over.closeAllConnections();
await touch("finish.mjs", "--help");
await touch("hibernate.mjs", "--help");
await touch("attach.mjs", "--help");
const noSnapshot = await snapshotFailure(plain);
server.close();
server.closeAllConnections();
const idsOf = (name) => plain[0].known.filter((model) => model.provider === name).map((model) => model.id);
const catalog = Object.fromEntries(Object.keys(providers).map((name) => [name, idsOf(name)]));
console.log(JSON.stringify({ catalog, noSnapshot }));
