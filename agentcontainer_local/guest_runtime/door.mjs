// The way to the host: HTTP over the run's unix socket, asked again until the host is there.
import { once } from "node:events";
import { watch } from "node:fs";
import { finished } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { http } from "./builtins.mjs";
import { DOOR, RUN_DIR } from "./paths.mjs";

const ANSWER_LIMIT = 1 << 20;
const connections = new http.Agent({ keepAlive: true }); // one that has died meanwhile counts as a host that is away

/** The host could not be reached, or went away before it had answered in full: ask again later. */
export class Unreachable extends Error {}

/**
 * One request. `body`: nothing, a string or Buffer, or a function that yields chunks.
 * Resolves with the answer's stream as soon as its head is there; rejects with Unreachable, or with what `body` threw.
 */
export function open(method, path, { headers = {}, body, signal } = {}) {
  return new Promise((resolve, reject) => {
    const options = { socketPath: DOOR, method, path, headers: { host: "host", ...headers }, agent: connections, signal };
    const request = http.request(options);
    request.on("response", resolve);
    request.on("error", (error) => reject(signal?.aborted ? error : new Unreachable(error.message)));
    if (typeof body !== "function") return void request.end(body);
    write(request, body()).catch((error) => {
      reject(error); // first: what destroy() reports is only the consequence
      request.destroy();
    });
  });
}

/** By hand, not by pipeline(): the host may answer before it has read all, and that answer must not be lost. */
async function write(request, chunks) {
  for await (const chunk of chunks) {
    if (request.destroyed) return;
    if (!request.write(chunk)) await room(request);
  }
  if (!request.destroyed) request.end();
}

function room(request) {
  return new Promise((resolve) => {
    const go = () => {
      request.off("drain", go);
      request.off("close", go);
      resolve();
    };
    request.on("drain", go);
    request.on("close", go);
  });
}

/** As JSON that the host takes, which refuses half a character: what counts in UTF-16, as Pi does, may leave one. */
export function jsonOf(value) {
  const text = JSON.stringify(value);
  return text.includes("\\ud") ? JSON.stringify(value, wellFormed) : text; // a half that is alone is escaped
}

function wellFormed(_, value) {
  if (typeof value === "string") return value.toWellFormed();
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name.toWellFormed(), one]));
}

/** One request and its whole JSON answer: `{status, body}`. */
export async function exchange(method, path, options = {}) {
  const { json, ...rest } = options;
  if (json !== undefined) {
    rest.body = jsonOf(json);
    rest.headers = { ...rest.headers, "content-type": "application/json" };
  }
  if (typeof rest.body === "string") rest.headers = { ...rest.headers, "content-length": Buffer.byteLength(rest.body) };
  const answer = await open(method, path, rest);
  const text = await wholeText(answer);
  return { status: answer.statusCode, body: parsed(text) };
}

/** Runs `attempt` until it does not end as Unreachable; `onWait(error)` is told of each failure. */
export async function insist(attempt, { signal, onWait } = {}) {
  for (let delay = 50; ; delay = await nextDelay(delay, signal)) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      onWait?.(error);
    }
  }
}

/** Waits for so long, or until a host that comes back makes its socket anew; resolves with how long to wait next. */
export async function nextDelay(delay, signal) {
  const over = AbortSignal.any([AbortSignal.timeout(delay), ...(signal ? [signal] : [])]);
  let watcher;
  try {
    watcher = watch(RUN_DIR);
    await once(watcher, "change", { signal: over });
    return 50;
  } catch {
    signal?.throwIfAborted();
    if (!over.aborted) await sleep(delay, undefined, { signal }); // there are too many watchers on this machine
    return Math.min(delay * 2, 1000);
  } finally {
    watcher?.close();
  }
}

async function wholeText(stream) {
  const chunks = [];
  let size = 0;
  stream.on("data", (chunk) => {
    size += chunk.length;
    if (size <= ANSWER_LIMIT) chunks.push(chunk);
  });
  try {
    await finished(stream);
  } catch (error) {
    throw new Unreachable(error.message); // cut in the middle of the answer
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
