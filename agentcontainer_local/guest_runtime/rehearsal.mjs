// Pi in a conversation with each provider, which a small model of ours plays. For the preparation of the runtime only.
import { spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";

export const ROOT = "/opt/agentcontainer";
const AGENT_DIR = "/var/lib/agentcontainer/pi";
const WORKSPACE = "/workspace";
const SESSIONS = "/tmp/sessions";
const PATIENCE_MS = 60_000;

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
const PATHS = { anthropic: "/anthropic", openai: "/openai/v1", openrouter: "/openrouter/api/v1" };
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

/** The providers' API, and what Pi must know to ask it. */
export async function openProviders() {
  const server = http.createServer(answer);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const reached = Object.entries(PATHS).map(([name, path]) => [name, { baseUrl: origin + path, apiKey: "none" }]);
  const settings = { cacheWarming: "off", retry: { enabled: false } };
  mkdirSync(AGENT_DIR, { recursive: true });
  writeFileSync(`${WORKSPACE}/TASK.md`, "A task.\n");
  writeFileSync(`${AGENT_DIR}/settings.json`, JSON.stringify(settings));
  writeFileSync(`${AGENT_DIR}/models.json`, JSON.stringify({ providers: Object.fromEntries(reached) }));
  return server;
}

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

/** A program in the environment of a container. Killed when `timeout` milliseconds have passed. */
export function started(argv, timeout = PATIENCE_MS) {
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

/** The same with each model; `options` are for Node. */
export async function runPiWithAll(options = []) {
  const runs = [];
  for (const [provider, model] of MODELS) runs.push(await runPi(options, provider, model));
  return runs;
}

/** The ids of the models that Pi knows, by provider. */
export function catalogOf([{ known }]) {
  const idsOf = (name) => known.filter((model) => model.provider === name).map((model) => model.id);
  return Object.fromEntries(Object.keys(PATHS).map((name) => [name, idsOf(name)]));
}
