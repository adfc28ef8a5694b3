// Starts Pi as launch.json says; imports next to nothing, because Pi's own start is what a task waits for.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { cachedDataVersionTag } from "node:v8";
import { BIN_DIR, LAUNCH, SESSION_ID, STATE_DIR, WORKSPACE } from "./paths.mjs";

export const VIRTUAL_PROVIDER = "agentcontainer";
/** Pi as it is once its modules are loaded. V8 accepts it only on a processor like the one that it was made on. */
export const SNAPSHOT = `${dirname(import.meta.dirname)}/snapshot/${cachedDataVersionTag()}.blob`;

const TMPDIR = `${STATE_DIR}/tmp`;
const OWN = ["AC_RUN_DIR", "AC_WORKSPACE", "AC_STATE", "NODE_COMPILE_CACHE"];

/** Reads launch.json and writes the files that it carries. */
export function prepare() {
  const launch = JSON.parse(readFileSync(LAUNCH, "utf8"));
  mkdirSync(TMPDIR, { recursive: true });
  writeFiles(launch);
  return launch;
}

export function writeFiles({ files = {} }) {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

/** The process. */
export function startPi(launch) {
  const [node, ...args] = inSession(launch.argv);
  const snapshot = existsSync(SNAPSHOT) ? ["--snapshot-blob", SNAPSHOT] : [];
  const child = spawn(node, [...snapshot, ...args], { cwd: WORKSPACE, env: environment(launch), stdio: ["pipe", "pipe", "pipe"] });
  child.once("error", (error) => (child.failure = error)); // comes before anybody else can listen
  return child;
}

/** In the session that an earlier life of this container began, whatever its id. */
function inSession(argv) {
  const at = argv.indexOf("--session-id") + 1;
  if (at === 0 || !existsSync(SESSION_ID)) return argv;
  return argv.with(at, readFileSync(SESSION_ID, "utf8"));
}

/** Nothing of the image's but PATH: a variable of it could end Node, or lead Pi elsewhere. The tools get them all. */
function environment(launch) {
  const own = Object.fromEntries(OWN.map((name) => [name, process.env[name]]).filter(([, value]) => value));
  return {
    ...own,
    HOME: WORKSPACE,
    TMPDIR, // Pi keeps long outputs there, and an image need not have a /tmp
    ...launch.env,
    AC_MODE: launch.mode,
    ...(launch.waiting && { AC_WAITING: "1" }),
    AC_MODEL: JSON.stringify(launch.model),
    PATH: toolPath(launch),
  };
}

/** Our commands first. Pi puts its own (empty) bin folder before everything unless PATH has it already. */
function toolPath({ env = {}, imageEnv = {} }) {
  const image = (imageEnv.PATH ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(":");
  const own = env.PI_CODING_AGENT_DIR ? [`${env.PI_CODING_AGENT_DIR}/bin`] : [];
  return [BIN_DIR, ...image.filter((dir) => dir && dir !== BIN_DIR), ...own].join(":");
}
