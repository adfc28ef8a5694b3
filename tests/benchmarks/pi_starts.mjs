// Starts Pi in turn plainly and from its snapshot, each as the guest daemon starts it. Prints what each start took until
// its first model request, one line of JSON each. Runs in a container that has the runtime and nothing else of ours.
// Usage: node pi_starts.mjs ROUNDS
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";

const ROOT = "/opt/agentcontainer";
const STATE = "/var/lib/agentcontainer";
const WITHOUT_SNAPSHOT = "/tmp/plain"; // launch.mjs looks for the snapshot beside itself
const TICK_MS = 10;

let heard;
const provider = http.createServer((request, response) => {
  heard(performance.now());
  request.resume().on("end", () => response.writeHead(400).end("{}"));
});
await new Promise((resolve) => provider.listen(0, "127.0.0.1", resolve));
const baseUrl = `http://127.0.0.1:${provider.address().port}`;

const launch = {
  mode: "autonomous",
  files: {
    [`${STATE}/pi/models.json`]: JSON.stringify({ providers: { anthropic: { baseUrl, apiKey: "none" } } }),
    [`${STATE}/pi/settings.json`]: JSON.stringify({ cacheWarming: "off", retry: { enabled: false } }),
  },
  argv: [
    process.execPath, `${ROOT}/pi/dist/bundle/cli.js`, "--mode", "rpc", "-na", "-ne", "-ns", "-np", "--no-themes",
    "-e", `${ROOT}/guest/extension.mjs`, "--no-session", "--provider", "anthropic", "--model", "claude-sonnet-4-5",
  ],
  env: { JITI_TRY_NATIVE: "1", PI_CODING_AGENT_DIR: `${STATE}/pi`, PI_OFFLINE: "1", PI_TELEMETRY: "0" },
  model: { provider: "anthropic", id: "claude-sonnet-4-5" },
};
for (const folder of ["/run/agentcontainer", "/workspace", STATE]) mkdirSync(folder, { recursive: true });
writeFileSync("/run/agentcontainer/launch.json", JSON.stringify(launch));
cpSync(`${ROOT}/guest`, `${WITHOUT_SNAPSHOT}/guest`, { recursive: true });
const ways = {
  plain: await import(`${WITHOUT_SNAPSHOT}/guest/launch.mjs`),
  snapshot: await import(`${ROOT}/guest/launch.mjs`),
};
ways.plain.prepare();

async function firstRequest({ startPi }) {
  const came = new Promise((resolve) => (heard = resolve));
  const began = performance.now();
  const pi = startPi(launch);
  pi.stdin.write('{"type":"prompt","message":"Nothing to do"}\n');
  const taken = { wallMs: (await came) - began, ...used(pi.pid) };
  pi.kill("SIGKILL");
  await new Promise((resolve) => pi.on("exit", resolve));
  return taken;
}

function used(pid) {
  const [user, system] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13).map(Number);
  const [, kilobytes] = /^Private_Dirty: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return { cpuMs: (user + system) * TICK_MS, privateMb: kilobytes / 1024 };
}

for (const way of Object.values(ways)) await firstRequest(way); // all files are in the page cache from here on
for (let round = 0; round < Number(process.argv[2]); round += 1) {
  for (const [name, way] of Object.entries(ways)) console.log(JSON.stringify({ name, ...(await firstRequest(way)) }));
}
process.exit(0);
