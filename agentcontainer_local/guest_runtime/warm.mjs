// Fills Node's compile cache: runs Pi once with each provider, and starts our programs. Makes the snapshot of Pi.
// Prints the ids of the models that Pi knows, and why there is no snapshot. The host runs it once when it makes the
// runtime, and never for a task.
import { writeFileSync } from "node:fs";
import http from "node:http";
import { catalogOf, openProviders, ROOT, runPiWithAll, started } from "./rehearsal.mjs";
import { makeSnapshot } from "./snapshot/make.mjs";

const RUN_DIR = "/run/agentcontainer";

// What these do without a door is their own affair: only that they are compiled counts.
async function touch(program, ...words) {
  const child = started([`${ROOT}/guest/${program}`, ...words]);
  child.stdin.end();
  const end = setTimeout(() => child.kill("SIGTERM"), 1000);
  const last = setTimeout(() => child.kill("SIGKILL"), 3000);
  await child.ended;
  clearTimeout(end);
  clearTimeout(last);
}

// The daemon loads most of itself once Pi runs, and keeps what was compiled only if it ends by itself: so a run with
// something in Pi's place, and a door that says at once that the run is over.
async function openDoor() {
  const door = http.createServer((_request, response) => response.writeHead(409).end());
  await new Promise((resolve) => door.listen(`${RUN_DIR}/host.sock`, resolve));
  return door;
}

const launch = { mode: "autonomous", argv: [process.execPath, "--version"], model: { provider: "none", id: "none" } };
writeFileSync(`${RUN_DIR}/launch.json`, JSON.stringify({ ...launch, gatewayPort: 0 }));
const providers = await openProviders();
const plain = await runPiWithAll();
const over = await openDoor();
await touch("daemon.mjs");
over.close();
over.closeAllConnections();
await touch("finish.mjs", "--help");
await touch("hibernate.mjs", "--help");
await touch("attach.mjs", "--help");
const noSnapshot = await makeSnapshot(plain);
providers.close();
providers.closeAllConnections();
console.log(JSON.stringify({ catalog: catalogOf(plain), noSnapshot }));
