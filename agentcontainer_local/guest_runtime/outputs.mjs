// Sends files of this container to the host: all are opened and looked at first, then streamed from those same handles.
import { randomUUID } from "node:crypto";
import { constants, open as openFile } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { packed, plan } from "./directories.mjs";
import { exchange, insist, Unreachable } from "./door.mjs";

const CHUNK = 256 * 1024;
const CUTS = 20; // uploads broken off by a host that is there: a host that restarts is not seen so often
const WHY = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file (a part of its path is not a directory)",
  EACCES: "it cannot be read (permission denied)",
  EPERM: "it cannot be read (operation not permitted)",
  ENXIO: "it is a socket or a device, not a regular file",
  ELOOP: "its symbolic links lead in a circle",
  ENAMETOOLONG: "its name is too long",
  EMFILE: "too many files at once",
};

/** The host or the files say no; the message is for the agent. */
export class Refused extends Error {}

/**
 * Asks the host to take `request` ({kind, …}) with `files` ([{path, outputName?}], relative to `cwd`).
 * Resolves when the host has accepted; throws Refused; waits for as long as the host is away.
 */
export async function deliver(request, files, { cwd = process.cwd(), signal, onWait } = {}) {
  const opened = await openAll(files, cwd);
  try {
    await insist(attempts(request, opened, signal), { signal, onWait });
  } finally {
    await Promise.all(opened.map(({ handle }) => handle?.close()));
  }
}

/** One JSON request to the host, as often as needed; throws Refused with the host's reason. */
export async function ask(path, json, { signal, onWait } = {}) {
  return insist(() => post(path, json, { signal }), { signal, onWait });
}

/** One whole delivery; a host that restarted knows nothing of one begun before, so it begins again each time. */
function attempts(request, opened, signal) {
  const headers = { "idempotency-key": randomUUID() };
  let cuts = 0;
  return async () => {
    const listed = opened.map(({ path, outputName, size, directory }) => ({
      filename: directory?.name ?? basename(path), sizeBytes: size, outputName: outputName ?? null, path,
      ...(directory && { directory: true }),
    }));
    const { id, done } = await post("/guest/outputs", { ...request, files: listed }, { signal, headers });
    if (done) return; // the host had taken it, and went away before it could say so
    try {
      for (const [index, file] of opened.entries()) await upload(`/guest/outputs/${id}/${index}`, file, signal);
      await unchanged(opened);
      await commit(`/guest/outputs/${id}`, signal);
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Forgotten)) throw error;
      if ((cuts += 1) >= CUTS) throw new Refused(`The host does not take the files: ${error.message}.`);
      throw new Unreachable(error.message);
    }
  };
}

async function upload(path, file, signal) {
  const headers = { "content-type": "application/octet-stream", "content-length": file.size };
  remembered(await exchange("PUT", path, { headers, body: () => (file.directory ? packed(file.directory, changed) : bytesOf(file)), signal }));
}

/** Asked again by itself while the host is away: a commit whose answer was lost must not begin a second delivery. */
async function commit(path, signal) {
  await insist(async () => remembered(await exchange("POST", path, { json: {}, signal })), { signal });
}

async function post(path, json, options) {
  return judge(await exchange("POST", path, { ...options, json }));
}

function remembered(answer) {
  if (answer.status === 404) throw new Forgotten(answer.body?.error?.message ?? "the delivery is not known");
  return judge(answer);
}

/** The host does not know the delivery (any more): it was restarted meanwhile. */
class Forgotten extends Error {}

/** The answer's body if it is a yes. */
function judge({ status, body }) {
  if (status >= 200 && status < 300) return body ?? {};
  const message = body?.error?.message;
  if (status === 503) throw new Unreachable(message ?? "the host is not ready");
  throw new Refused(message ?? `The host answered ${status}.`);
}

async function openAll(files, cwd) {
  const results = await Promise.all(files.map((file) => openOne(file, cwd)));
  const problems = results.filter((result) => result.problem);
  if (problems.length === 0) return results;
  await Promise.all(results.map(({ handle }) => handle?.close()));
  const lines = problems.map(({ path, problem }) => `  ${JSON.stringify(path)}: ${problem}`);
  throw new Refused(`These files cannot be sent:\n${[...new Set(lines)].join("\n")}`);
}

async function openOne({ path, outputName }, cwd) {
  let handle;
  try {
    // O_NONBLOCK: opening a FIFO that nobody writes to must not wait for ever.
    handle = await openFile(resolve(cwd, path), constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await handle.stat();
    if (stats.isDirectory()) {
      await handle.close();
      handle = undefined;
      const directory = await plan(resolve(cwd, path));
      return { path, outputName, directory, size: directory.size };
    }
    if (stats.isFile()) return { path, outputName, handle, size: stats.size, mtimeMs: stats.mtimeMs };
    await handle.close();
    return { path, problem: `it is ${kind(stats)}, not a regular file` };
  } catch (error) {
    await handle?.close();
    return { path, problem: WHY[error.code] ?? error.message };
  }
}

function kind(stats) {
  if (stats.isFIFO()) return "a FIFO";
  return "a device";
}

async function* bytesOf({ handle, size, path }) {
  for (let position = 0; position < size; ) {
    const length = Math.min(CHUNK, size - position);
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, position);
    if (bytesRead === 0) throw changed(path);
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function unchanged(opened) {
  for (const { handle, size, mtimeMs, path } of opened.filter((file) => file.handle)) {
    const now = await handle.stat();
    if (now.size !== size || now.mtimeMs !== mtimeMs) throw changed(path);
  }
}

function changed(path) {
  const shown = JSON.stringify(path);
  return new Refused(`${shown} changed while it was sent: wait until nothing writes to it, then call again.`);
}
