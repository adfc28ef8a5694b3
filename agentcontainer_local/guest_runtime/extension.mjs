// What we add to Pi: finish, hibernate and attach as tools, a limit on commands, the weak model, a clean environment.
import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { createBashToolDefinition } from "../pi/dist/bundle/index.js";
import { LAUNCH, REPORTED_PATH } from "./paths.mjs";
import { newlyRefused, withoutRefused } from "./pictures.mjs";

const PRIVATE = ["AC_MODE", "AC_MODEL", "AC_TOOL_CHARACTERS", "AC_WAITING", "AC_WEAK_MODEL", "JITI_TRY_NATIVE", "NODE_COMPILE_CACHE"];
const GIVEN = Symbol.for("agentcontainer.given");
const PLACES = ["AC_RUN_DIR", "AC_WORKSPACE", "AC_STATE"];
const BASH_TIMEOUT_SECONDS = 600;
const LONGEST_TASK_SECONDS = 604_800;
// One of ours where a shell looks for a command, with what may stand before it; of a text cut into single commands.
const OURS = new RegExp(
  String.raw`^\s*(?:(?:\w+=\S*|if|while|until|then|elif|else|do|exec|env|time|nohup|command|timeout|\d+[smhd]?)\s+)*` +
  String.raw`(?:\S*/)?(?:finish|hibernate|attach)\s`,
);
const SEPARATORS = /[;&|(){}!\n`]/;
const QUOTED = /"[^"\n]*"|'[^'\n]*'/g;
const SCRIPT_BYTES = 64 * 1024;
const PICTURE_REFUSED = "The model's provider refused the picture. It was left out; go on without it.";
const LEVELS = ["off", "minimal", "low", "medium", "high", "xhigh", "max"];
const PATHS = { type: "array", items: { type: "string" } };

export default function extend(pi) {
  const { AC_MODE: mode, AC_MODEL: main, AC_TOOL_CHARACTERS: most, AC_WAITING: waits, AC_WEAK_MODEL: weak } = privately();
  const tools = mode === "conversation" ? [ATTACH] : [FINISH, HIBERNATE];
  for (const tool of [...tools, shell()]) pi.registerTool(tool);
  pi.on("tool_call", limitBash);
  pi.on("tool_result", mendOutput);
  if (most) pi.on("tool_result", (result) => shorten(result, Number(most)));
  pi.on("context", leaveOutRefused);
  pi.on("agent_before_settle", goOnWithoutRefused);
  if (waits) pi.on("before_agent_start", instruct);
  if (weak) pi.registerVirtualModel(routed(JSON.parse(main), weak));
}

/** Ours and Pi's alone: the agent's tools inherit this process's environment. Pi extends each session of it anew. */
function privately() {
  const given = (globalThis[GIVEN] ??= Object.fromEntries(PRIVATE.map((name) => [name, process.env[name]])));
  for (const name of PRIVATE) delete process.env[name];
  return given;
}

/** Pi has read its instructions when it started, and its task came later. */
function instruct({ systemPromptOptions }) {
  systemPromptOptions.appendSystemPrompt = readFileSync(`${process.env.PI_CODING_AGENT_DIR}/system.md`, "utf8");
}

/** Pi's own, with the environment that the image sets: Pi itself has nothing of it. */
function shell() {
  const { imageEnv = {} } = JSON.parse(readFileSync(LAUNCH, "utf8"));
  for (const name of PLACES) delete imageEnv[name]; // our commands go by them
  const spawnHook = ({ env: { TMPDIR: _, ...env }, ...rest }) => ({ ...rest, env: { ...imageEnv, ...env } });
  return createBashToolDefinition(process.cwd(), { spawnHook });
}

/** A command without a limit of its own would hang the run for ever; but ours wait for as long as the host is away. */
function limitBash({ toolName, input }) {
  if (toolName === "bash") input.timeout ||= callsOurs(input.command) ? LONGEST_TASK_SECONDS : BASH_TIMEOUT_SECONDS;
}

/** Pi loses an output whose last line is too long for it. */
async function mendOutput({ toolName, content, details, isError, structuredContent }) {
  const cut = details?.truncation ?? isError; // of a command that was ended, Pi gives only the words
  if (toolName !== "bash" || !cut || content[0]?.type !== "text") return undefined;
  const { withItsEnd } = await import("./printed.mjs");
  const text = withItsEnd(content[0].text);
  return text === content[0].text ? undefined : { content: [{ type: "text", text }], structuredContent };
}

/** In a small context window, one answer of a tool's could fill all of it. */
function shorten({ content, structuredContent }, most) {
  const cut = content.map((part) =>
    part.type === "text" && part.text.length > most
      ? { ...part, text: `${part.text.slice(0, most / 2)}\n[${part.text.length - most} characters left out: the model's ` +
          `context window is small. Look at parts.]\n${part.text.slice(-most / 2)}` }
      : part,
  );
  return cut.some((part, n) => part !== content[n]) ? { content: cut, structuredContent } : undefined;
}

function leaveOutRefused({ messages }) {
  const kept = withoutRefused(messages);
  return kept === messages ? undefined : { messages: kept };
}

function goOnWithoutRefused({ entries, context }) {
  if (!newlyRefused(context.contextMessages)) return undefined;
  const told = { type: "custom_message", customType: "agentcontainer", content: PICTURE_REFUSED, display: false };
  return { entries: [...entries, told], continue: true };
}

/** As it stands, or in a script that it names. What is quoted is no command, unless a shell gets it by -c. */
function callsOurs(command = "") {
  const scripts = command.split(/[\s;&|()"'`]+/, 100).map(scriptAt);
  const plain = [command, ...scripts].map((text) =>
    text.replace(/\\\n/g, " ").replace(/-c\s+["']/g, ";").replace(QUOTED, "''"),
  );
  return plain.some((text) => text.split(SEPARATORS).some((single) => OURS.test(single)));
}

function scriptAt(path) {
  try {
    const stats = statSync(path);
    return stats.isFile() && stats.size <= SCRIPT_BYTES ? readFileSync(path, "utf8") : "";
  } catch {
    return ""; // none of that name, or not for us to read
  }
}

/** Selected in the main model's place: summaries and such (`direct`) go to the weak one, all else to the main one. */
function routed(main, weak) {
  return {
    provider: "agentcontainer",
    id: main.id,
    thinkingLevels: LEVELS,
    route({ reason, thinkingLevel }, { modelRegistry }) {
      const aside = reason === "direct";
      const id = aside ? weak : main.id;
      const model = modelRegistry.find(main.provider, id);
      if (!model) throw new Error(`Pi has no model ${main.provider}/${id}.`);
      return { model, thinkingLevel: aside ? "off" : thinkingLevel };
    },
  };
}

const FINISH = {
  name: "finish",
  label: "finish",
  description:
    "End the task: say how it went and hand over the output files. Call it last and alone; once accepted, the " +
    "container stops. If it is refused, mend what the reason says and call it again.",
  promptSnippet: "End the task and hand over its output files",
  parameters: {
    type: "object",
    properties: {
      completion: {
        type: "string",
        enum: ["complete", "incomplete"],
        description: "complete: the task is done in full; incomplete: it is not, or only in part",
      },
      message: { type: "string", description: "The result, in words; if incomplete, what is missing and why" },
      files: { ...PATHS, description: "Paths of output files" },
      outputs: {
        type: "array",
        items: {
          type: "object",
          properties: { name: { type: "string" }, path: { type: "string" } },
          required: ["name", "path"],
        },
        description: "Only where the task names its outputs: each name with the path of its file",
      },
    },
    required: ["completion", "message"],
  },
  async execute(_id, { completion, message, files = [], outputs = [] }, signal, _update, { cwd }) {
    const { finish } = await import("./finish.mjs");
    await reported();
    const plain = files.map((path) => ({ path: actual(path), outputName: null }));
    const named = outputs.map(({ name, path }) => ({ path: actual(path), outputName: name }));
    return done(await finish({ completion, message, files: [...plain, ...named] }, { cwd, signal }), true);
  },
};

const HIBERNATE = {
  name: "hibernate",
  label: "hibernate",
  description:
    "Put the task to sleep when there is nothing to do until later. The workspace is kept, running processes are " +
    "not. You are woken when the time has come or by a message. Call it alone. Give one of for and until.",
  promptSnippet: "Sleep until a time or a message",
  parameters: {
    type: "object",
    properties: {
      for: { type: "string", description: "How long: 90s, 45m, 2h, 1d12h" },
      until: { type: "string", description: "Until when: 2026-01-31T08:00:00Z" },
      message: { type: "string", description: "Why, or what to do next" },
    },
  },
  async execute(_id, params, signal) {
    const { hibernate, wish } = await import("./hibernate.mjs");
    const asked = wish(params);
    await reported();
    return done(await hibernate(asked, { signal }), true);
  },
};

const ATTACH = {
  name: "attach",
  label: "attach",
  description: "Add files to your answer, so that the user gets them with it. Then go on and answer in words.",
  promptSnippet: "Add files to your answer",
  parameters: { type: "object", properties: { files: { ...PATHS, minItems: 1 } }, required: ["files"] },
  async execute(_id, { files }, signal, _update, { cwd }) {
    const { attach } = await import("./attach.mjs");
    const plain = files.map((path) => ({ path: actual(path), outputName: null }));
    return done(await attach({ files: plain }, { cwd, signal }), false);
  },
};

/** The run ends with the tool that is called: the host has to have the words before it, and the call itself. */
async function reported() {
  const { tellHost } = await import("./cli.mjs");
  await tellHost(REPORTED_PATH);
}

/** Models write ~/report.md, which no shell expands here, and @report.md, as Pi's own tools allow. */
function actual(path) {
  const plain = path.startsWith("@") ? path.slice(1) : path;
  return plain.startsWith("~/") ? `${homedir()}/${plain.slice(2)}` : plain;
}

function done(text, terminate) {
  return { content: [{ type: "text", text }], details: {}, ...(terminate && { terminate }) };
}
