// The files that the host has for the workspace: each is fetched once, and never again over what the agent made of it.
import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { lstat, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { json } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { unpack } from "./directories.mjs";
import { insist, open, Unreachable } from "./door.mjs";
import { STATE_DIR, WORKSPACE } from "./paths.mjs";

const RECORD = join(STATE_DIR, "inputs.json");
// On the workspace's own file system, but in no folder whose files have names that users choose.
const ARRIVING = join(WORKSPACE, ".arriving");
const AT_ONCE = 4;
const GONE = 410; // the host says for whom, and why

let settled = new Set(); // paths that this process has seen to: nothing to look up for the next message

/** Brings what is missing of `inputs` ({path, url, sizeBytes}) into the workspace; an Error names what could not be. */
export async function fetchInputs(inputs, { signal } = {}) {
  if (inputs.every(({ path }) => settled.has(path))) return;
  const known = await fetched();
  const missing = inputs.filter(({ path }) => !known.has(path));
  await rm(ARRIVING, { recursive: true, force: true }); // of a life that was cut
  try {
    await inParallel(missing, fetchOne, signal);
  } finally {
    await rm(ARRIVING, { recursive: true, force: true });
  }
  if (missing.length > 0) await record([...known, ...missing.map(({ path }) => path)]);
  await linkTask();
  settled = new Set(inputs.map(({ path }) => path));
}

/** The first failure ends all of it, and is what is thrown. */
async function inParallel(items, work, signal) {
  const rest = [...items];
  const failed = new AbortController();
  const over = AbortSignal.any([failed.signal, ...(signal ? [signal] : [])]);
  const lane = async () => {
    try {
      for (let item = rest.shift(); item && !over.aborted; item = rest.shift()) await work(item, over);
    } catch (error) {
      failed.abort(error);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  over.throwIfAborted();
}

async function fetchOne({ path, url, sizeBytes, directory }, signal) {
  const target = join(WORKSPACE, path);
  const temporary = join(ARRIVING, randomUUID());
  try {
    await mkdir(dirname(target), { recursive: true });
    await mkdir(ARRIVING, { recursive: true });
    await insist(() => download(url, temporary, signal), { signal });
    const { size } = await stat(temporary);
    if (size !== sizeBytes) throw new Error(`it has ${size} bytes instead of ${sizeBytes}`);
    if (directory) await unpack(temporary, `${temporary}.d`);
    await rename(directory ? `${temporary}.d` : temporary, target);
  } catch (error) {
    signal.throwIfAborted(); // another one's failure, or the end of the turn
    throw new Error(`The input file ${path} could not be put into the workspace: ${error.message}`, { cause: error });
  }
}

async function download(url, temporary, signal) {
  const answer = await open("GET", url, { signal });
  if (answer.statusCode >= 500) {
    answer.destroy();
    throw new Unreachable(`the host answered ${answer.statusCode}`);
  }
  if (answer.statusCode !== 200) throw new Error(await reason(answer));
  let cut = null;
  answer.on("error", (error) => (cut = error));
  try {
    await pipeline(answer, createWriteStream(temporary));
  } catch (error) {
    throw cut ? new Unreachable(cut.message) : error;
  }
}

async function reason(answer) {
  const said = answer.statusCode === GONE ? await json(answer).catch(() => null) : answer.destroy();
  return said?.error?.message ?? `the host answered ${answer.statusCode}`;
}

async function fetched() {
  try {
    return new Set(JSON.parse(await readFile(RECORD, "utf8")));
  } catch {
    return new Set(); // none yet; a record is only ever replaced whole
  }
}

async function record(paths) {
  await mkdir(STATE_DIR, { recursive: true });
  await writeFile(`${RECORD}.new`, JSON.stringify(paths));
  await rename(`${RECORD}.new`, RECORD);
}

/** ~/TASK.md -> task/TASK.md, unless the agent has something of its own there. */
async function linkTask() {
  const exists = (path) => lstat(path).then(() => true, () => false);
  if (!(await exists(join(WORKSPACE, "task/TASK.md"))) || (await exists(join(WORKSPACE, "TASK.md")))) return;
  await symlink("task/TASK.md", join(WORKSPACE, "TASK.md"));
}
