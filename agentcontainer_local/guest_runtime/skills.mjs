// The agent's skills: installed by the pinned `skills` command before Pi starts, once for a task.
import { execFile } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify, stripVTControlCharacters } from "node:util";
import { STATE_DIR } from "./paths.mjs";

const HOME = join(STATE_DIR, "skills"); // the command's own, so that nothing of it is in the workspace
const DONE = join(HOME, "installed.json");
const CLI = join(dirname(import.meta.dirname), "pi/node_modules/skills/bin/cli.mjs");
const TRIES = 2;
const PAUSE_MS = 2_000;
const SAID = 1_000;
const FROM_IMAGE = /^(PATH|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|GIT_SSL_CA(INFO|PATH)|NODE_EXTRA_CA_CERTS)$/i;
const ENVIRONMENT = { HOME, DISABLE_TELEMETRY: "1", DO_NOT_TRACK: "1", GIT_TERMINAL_PROMPT: "0", NO_COLOR: "1" };

/** Each value is what `skills add` takes; an Error says which could not be had, and why. */
export async function install(values, imageEnv = {}) {
  const wanted = JSON.stringify(values);
  if ((await readFile(DONE, "utf8").catch(() => null)) === wanted) return;
  await rm(HOME, { recursive: true, force: true });
  await mkdir(HOME, { recursive: true });
  for (const value of values) await add(value, imageEnv);
  await writeFile(DONE, wanted);
}

async function add(value, imageEnv, tries = TRIES) {
  const argv = [CLI, "add", value, "--agent", "pi", "--yes", "--copy"];
  const options = { cwd: HOME, env: { ...fromImage(imageEnv), ...process.env, ...ENVIRONMENT }, maxBuffer: 16 << 20 };
  try {
    const adding = promisify(execFile)(process.execPath, argv, options);
    adding.child.stdin.end();
    await adding;
  } catch (error) {
    if (tries > 1) return sleep(PAUSE_MS).then(() => add(value, imageEnv, tries - 1));
    throw new Error(`The skill ${value} could not be installed: ${words(error)}`, { cause: error });
  }
}

/** What git needs to be found and to reach the network from this image. */
function fromImage(imageEnv) {
  return Object.fromEntries(Object.entries(imageEnv).filter(([name]) => FROM_IMAGE.test(name)));
}

/** What the command said, without the frames that it draws. */
function words({ stdout = "", stderr = "", message }) {
  const lines = stripVTControlCharacters(stdout + stderr).split("\n");
  const plain = lines.map((line) => line.replace(/[^\x20-\x7e]/g, " ").replace(/ +/g, " ").trim());
  return plain.filter(Boolean).join(" ").slice(-SAID) || message;
}
