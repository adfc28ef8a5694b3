// The public API, and nothing else.

import { connection } from "./connection.js";
import * as session from "./session.js";

const BASE = "api/v1";
const PATIENCE_MS = 30_000;
const SILENCE_MS = 25_000;      // a stream says every 15 s that it is still there

export class Refused extends Error {
  constructor(status, error) {
    super([error.message, ...(error.fields ?? []).map((one) => [one.field, one.message].filter(Boolean).join(": "))].join("\n"));
    this.status = status;
    this.code = error.code;
  }
}

export const signedOut = new EventTarget();

export async function call(method, path, { body, query, headers, signal, key = session.key() } = {}) {
  const asked = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const url = BASE + path + (asked.length ? `?${new URLSearchParams(asked)}` : "");
  const given = { authorization: `Bearer ${key}`, ...headers };
  if (body !== undefined) given["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method, headers: given, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connection.failed();
    throw new Error("The server does not answer.");
  }
  if (response.ok) return response;
  const problem = await refusal(response);
  if (response.status === 401 && key === session.key()) signedOut.dispatchEvent(new Event("signedout"));
  throw problem;
}

async function refusal(response) {
  const said = await response.json().catch(() => null);
  if (said?.error) return new Refused(response.status, said.error);
  if ([502, 503, 504].includes(response.status)) connection.failed();
  return new Refused(response.status, { message: foreign(response.status, response.headers.get("server")) });
}

// Said by something between this page and the server, since the server gives its reasons.
function foreign(status, server) {
  const who = server ? `The proxy in front of the server (${server})` : "A proxy in front of the server";
  if (status === 413) return `${who} lets no file of this size through (413). Its limit has to be raised, in nginx with client_max_body_size.`;
  if (status === 502 || status === 503 || status === 504) return `${who} does not reach it (${status}).`;
  return `${who} answered with status ${status}.`;
}

// What is read is small: a server that takes long for it does not answer.
export async function get(path, query, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const both = signal ? AbortSignal.any([signal, patience]) : patience;
  return (await call("GET", path, { query, signal: both })).json();
}
export const patch = async (path, body) => (await call("PATCH", path, { body })).json();
export const put = async (path, body) => (await call("PUT", path, { body })).json();
export const remove = async (path) => void (await call("DELETE", path));

// `once`: a key of the caller's intent, so that a second try of the same thing has no second effect.
export const post = async (path, body, once) =>
  (await call("POST", path, { body, headers: once ? { "idempotency-key": once } : {} })).json();

export const intent = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export async function all(path, query = {}) {
  const found = [];
  let cursor;
  do {
    const page = await get(path, { limit: 1000, ...query, cursor });
    found.push(...page.data);
    cursor = page.pageInfo.nextCursor;
  } while (cursor);
  return found;
}

// Sends a file's bytes; answers the stored file. `progress` hears the part that is sent, from 0 to 1.
export async function upload(file, progress, signal) {
  const prepared = await post("/uploads/prepare", {
    filename: file.name, contentType: file.type || undefined, sizeBytes: file.size,
  });
  await sent(file, prepared, progress, signal);
  return post("/uploads/complete", { uploadId: prepared.uploadId });
}

// fetch tells nothing of what it has sent; this older way does.
function sent(file, prepared, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    // From where this page came: the server's idea of its own address may be another.
    request.open(prepared.method, BASE + prepared.uploadUrl.split(BASE).slice(1).join(BASE));
    for (const [name, value] of Object.entries(prepared.headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 1);
    request.onload = () => {
      if (request.status < 300) return resolve();
      let error = null;
      try { error = JSON.parse(request.responseText).error; } catch { /* not ours */ }
      return reject(new Refused(request.status, error ?? { message: foreign(request.status, request.getResponseHeader("server")) }));
    };
    request.onerror = () => reject(new Error("The upload was cut off. If that happens again at the same point, a proxy in front of the server may limit it."));
    request.onabort = () => reject(new DOMException("The upload was stopped.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

// At most `most` bytes of a file, as a Blob of a type that no browser runs unless `type` says otherwise.
export async function bytes(path, most, type = "application/octet-stream") {
  const response = await call("GET", path, most ? { headers: { range: `bytes=0-${most - 1}` } } : {}).catch((error) => {
    if (error.status === 416) return new Response("");      // an empty file has no first byte
    throw error;
  });
  return new Blob([await response.arrayBuffer()], { type });
}

// Server-sent events after the one numbered `after`, as they come; ends when the server ends them. The key is in a
// header, where EventSource would need it in the URL.
export async function* stream(path, after, signal) {
  const silent = new AbortController();
  const response = await call("GET", path, { query: { stream: true, after }, signal: AbortSignal.any([signal, silent.signal]) });
  if (response.status === 204) return;      // the task has ended, and nothing is left to be sent
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const waiting = setTimeout(() => silent.abort(new Error("silent")), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(waiting)).catch((error) => {
      if (!signal.aborted) connection.failed();
      throw error;
    });
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const lines = event.split("\n").filter((line) => !line.startsWith(":"));
      const named = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      if (named.event) yield { id: named.id ? Number(named.id) : null, event: named.event, data: JSON.parse(named.data) };
    }
  }
}
