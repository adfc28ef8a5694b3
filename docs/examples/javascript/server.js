// A server for tests: nothing of it is left when this process ends, however it ends.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export async function startServer() {
  const process = spawn("agentcontainer", ["serve", "--ephemeral", "--log-level", "warning"], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = await once(createInterface(process.stdout), "line");
  const { url, key } = JSON.parse(line);

  async function testing(method, path, body) {
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const response = await fetch(`${url}/testing${path}`, { method, headers, body: body && JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} /testing${path}: ${await response.text()}`);
    return response.status === 204 ? null : await response.json();
  }

  return {
    url,
    key,
    script: (...steps) => testing("POST", "/scripts", { steps }),
    conversation: (...turns) => testing("POST", "/scripts", { turns }),
    fault: (fault) => testing("POST", "/faults", fault),
    faults: async () => (await testing("GET", "/faults")).data,
    advance: (by) => testing("POST", "/clock/advance", { by }),
    problems: async () => (await testing("GET", "/problems")).problems,
    reset: () => testing("POST", "/reset"),
    async get(path) {
      return await (await fetch(`${url}/api/v1${path}`, { headers: { authorization: `Bearer ${key}` } })).json();
    },
    async stop() {
      process.kill();
      await once(process, "exit");
    },
  };
}
