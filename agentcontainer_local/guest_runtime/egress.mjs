// The way out for the agent's tools: an HTTP proxy on this container's loopback, which the host answers.
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { EGRESS } from "./paths.mjs";

/** Listens on 127.0.0.1:`port`; rejects when that is taken. Bytes pass as they are: the host reads them, and decides. */
export function openEgress(port) {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (tool) => void pass(tool));
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

async function pass(tool) {
  tool.on("error", () => tool.destroy());
  const host = await reached(tool);
  if (!host) return;
  tool.on("close", () => host.destroy());
  host.on("error", () => tool.destroy());
  host.on("close", () => tool.destroySoon());
  tool.pipe(host);
  host.pipe(tool);
}

/** While the host is away, the tool waits for it. */
async function reached(tool) {
  for (let delay = 50; !tool.destroyed; delay = Math.min(delay * 2, 1000)) {
    const host = await connected();
    if (host) return host;
    await sleep(delay);
  }
  return null;
}

function connected() {
  return new Promise((resolve) => {
    const socket = net.connect({ path: EGRESS, allowHalfOpen: true });
    socket.once("error", () => resolve(null));
    socket.once("connect", () => resolve(socket));
  });
}
