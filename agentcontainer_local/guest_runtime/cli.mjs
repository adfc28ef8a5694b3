// What the commands finish, hibernate and attach have in common: words on the terminal and exit codes.
import { readFileSync } from "node:fs";
import { http } from "./builtins.mjs";
import { Refused } from "./outputs.mjs";
import { LAUNCH, OUTPUT_PATH } from "./paths.mjs";

const PATIENCE_MS = 2_000;

/** The command was called wrongly. */
export class WrongUse extends Error {}

/**
 * Runs one command. `parse(argv)` gives null for --help, or what `act(wish, {onWait})` carries out; `act` resolves
 * with the words of success. `endsRun`: nothing is heard of the shell once it is accepted. Exit codes: 0 accepted, 1 refused, 2 wrong use.
 */
export async function main({ name, usage, parse, act, endsRun = false }) {
  let wish;
  try {
    wish = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${name}: ${error.message}\n\n${usage}`);
    process.exit(2);
  }
  if (wish === null) {
    process.stdout.write(usage);
    return;
  }
  if (endsRun) await tellHost(OUTPUT_PATH);
  try {
    process.stdout.write(`${await act(wish, { onWait: waiting(name) })}\n`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    process.stderr.write(`${name}: not accepted. ${error.message}\n`);
    process.exitCode = 1;
  }
}

/** Waits until the host has all earlier events: the next request ends the run, and events that come later are lost. */
export function tellHost(path) {
  return new Promise((resolve) => {
    const { gatewayPort: port } = JSON.parse(readFileSync(LAUNCH, "utf8"));
    const request = http.request({ host: "127.0.0.1", port, path, timeout: 2 * PATIENCE_MS });
    request.on("response", (answer) => answer.resume().on("close", resolve));
    request.on("timeout", () => request.destroy());
    request.on("error", resolve);
    request.end();
  }).catch(() => {}); // nothing is lost but words
}

function waiting(name) {
  const since = Date.now();
  let told = false;
  return () => {
    if (told || Date.now() - since < PATIENCE_MS) return;
    told = true;
    process.stderr.write(`${name}: the host is not there right now; waiting for it.\n`);
  };
}
