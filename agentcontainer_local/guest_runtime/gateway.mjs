// Pi's model calls: taken on this container's loopback, handed to the host, and held while the host is away.
import { pipeline } from "node:stream/promises";
import { http } from "./builtins.mjs";
import { insist, open } from "./door.mjs";

const BODY_LIMIT = 32 << 20;
const HOP_BY_HOP = new Set(
  ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "upgrade", "expect"],
);

/**
 * Listens on 127.0.0.1:`port`; rejects when that is taken. `own`: what is answered here, by path: each function resolves
 * when the answer may go. `dryRun`: who answers the calls while it is on.
 */
export function openGateway(port, own = {}, dryRun = null) {
  const server = http.createServer((request, response) => {
    if (dryRun?.on) return void dryRun.answer(request, response);
    if (!Object.hasOwn(own, request.url)) return void forward(request, response);
    own[request.url]().then(() => response.end(), () => response.destroy());
  });
  server.requestTimeout = 0;
  server.keepAliveTimeout = 3_600_000; // else a call may meet the connection just as it is closed for idleness
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

async function forward(request, response) {
  const gone = new AbortController();
  response.on("close", () => gone.abort()); // Pi has its answer, or does not want it any more
  try {
    const body = await wholeBody(request);
    if (body === null) return refuse(response, 413, "A request to the model may have at most 32 MiB.");
    const options = { headers: headersOf(request, body), body, signal: gone.signal };
    const answer = await insist(() => open(request.method, request.url, options), { signal: gone.signal });
    response.writeHead(answer.statusCode, answer.statusMessage, passedOn(answer.rawHeaders));
    response.flushHeaders();
    await pipeline(answer, response); // a cut on one side becomes a cut on the other
  } catch {
    response.destroy();
  }
}

async function wholeBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= BODY_LIMIT) chunks.push(chunk);
  }
  return size <= BODY_LIMIT ? Buffer.concat(chunks) : null;
}

function headersOf(request, body) {
  const headers = {};
  for (const [name, value] of Object.entries(request.headersDistinct)) {
    if (!HOP_BY_HOP.has(name)) headers[name] = value;
  }
  return { ...headers, host: request.headers.host, "content-length": body.length };
}

function passedOn(rawHeaders) {
  const headers = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!HOP_BY_HOP.has(rawHeaders[i].toLowerCase())) headers.push(rawHeaders[i], rawHeaders[i + 1]);
  }
  return headers;
}

function refuse(response, status, message) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ error: { type: "invalid_request_error", message } }));
}
