// The files that the host has for the workspace: each is fetched once, and never again over what the agent made of it.
import { createWriteStream } from "node:fs";
import { lstat, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { insist, open, Unreachable } from "./door.mjs";
import { STATE_DIR, WORKSPACE } from "./paths.mjs";

const RECORD = join(STATE_DIR, "inputs.json");
const AT_ONCE = 4;

let settled = new Set(); // paths that this process has seen to: nothing to look up for the next message

/** Brings what is missing of `inputs` ({path, url, sizeBytes}) into the workspace; an Error names what could not be. */
export async function fetchInputs(inputs, { signal } = {}) {
  if (inputs.every(({ path }) => settled.has(path))) return;
  const known = await fetched();
  const missing = inputs.filter(({ path }) => !known.has(path));
  await inParallel(missing, (input) => fetchOne(input, signal));
  if (missing.length > 0) await record([...known, ...missing.map(({ path }) => path)]);
  await linkTask();
  settled = new Set(inputs.map(({ path }) => path));
}

async function inParallel(items, work) {
  const rest = [...items];
  const lane = async () => {
    for (let item = rest.shift(); item; item = rest.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function fetchOne({ path, url, sizeBytes }, signal) {
  const target = join(WORKSPACE, path);
  const temporary = join(dirname(target), `.${path.split("/").at(-1)}.part`);
  try {
    await mkdir(dirname(target), { recursive: true });
    await insist(() => download(url, temporary, signal), { signal });
    const { size } = await stat(temporary);
    if (size !== sizeBytes) throw new Error(`it has ${size} bytes instead of ${sizeBytes}`);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new Error(`The input file ${path} could not be put into the workspace: ${error.message}`, { cause: error });
  }
}

async function download(url, temporary, signal) {
  const answer = await open("GET", url, { signal });
  if (answer.statusCode >= 500) {
    answer.destroy();
    throw new Unreachable(`the host answered ${answer.statusCode}`);
  }
  if (answer.statusCode !== 200) {
    answer.destroy();
    throw new Error(`the host answered ${answer.statusCode}`);
  }
  let cut = null;
  answer.on("error", (error) => (cut = error));
  try {
    await pipeline(answer, createWriteStream(temporary));
  } catch (error) {
    throw cut ? new Unreachable(cut.message) : error;
  }
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
