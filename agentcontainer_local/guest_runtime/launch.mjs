// Starts Pi as launch.json says; imports next to nothing, because Pi's own start is what a task waits for.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { BIN_DIR, LAUNCH, WORKSPACE } from "./paths.mjs";

export const VIRTUAL_PROVIDER = "agentcontainer";

/** Reads launch.json and writes the files that it carries. */
export function prepare() {
  const launch = JSON.parse(readFileSync(LAUNCH, "utf8"));
  for (const [path, text] of Object.entries(launch.files ?? {})) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return launch;
}

/** The process. */
export function startPi(launch) {
  const [command, ...args] = launch.argv;
  const child = spawn(command, args, { cwd: WORKSPACE, env: environment(launch), stdio: ["pipe", "pipe", "pipe"] });
  child.once("error", (error) => (child.failure = error)); // comes before anybody else can listen
  return child;
}

function environment(launch) {
  const env = { ...process.env, HOME: WORKSPACE, ...launch.env };
  delete env.LD_LIBRARY_PATH;
  env.AC_MODE = launch.mode;
  env.AC_MODEL = JSON.stringify(launch.model);
  env.PATH = toolPath(env);
  if (env.HTTP_PROXY || env.http_proxy || env.HTTPS_PROXY || env.https_proxy) bypassProxy(env);
  return env;
}

/** Our commands first. Pi puts its own (empty) bin folder before everything unless PATH has it already. */
function toolPath(env) {
  const inherited = (env.PATH ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(":");
  const own = env.PI_CODING_AGENT_DIR ? [`${env.PI_CODING_AGENT_DIR}/bin`] : [];
  return [BIN_DIR, ...inherited.filter((dir) => dir && dir !== BIN_DIR), ...own].join(":");
}

/** An image's proxy is for the agent's tools; the way to the model is this container's loopback. */
function bypassProxy(env) {
  const hosts = [env.NO_PROXY ?? env.no_proxy, "127.0.0.1", "localhost"].filter(Boolean).join(",");
  env.NO_PROXY = hosts;
  env.no_proxy = hosts;
}
