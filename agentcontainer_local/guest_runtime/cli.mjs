// What the commands finish, hibernate and attach have in common: words on the terminal and exit codes.
import { Refused } from "./outputs.mjs";

const PATIENCE_MS = 2_000;

/** The command was called wrongly. */
export class WrongUse extends Error {}

/**
 * Runs one command. `parse(argv)` gives null for --help, or what `act(wish, {onWait})` carries out; `act` resolves
 * with the words of success. Exit codes: 0 accepted, 1 refused, 2 wrong use.
 */
export async function main({ name, usage, parse, act }) {
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
  try {
    process.stdout.write(`${await act(wish, { onWait: waiting(name) })}\n`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    process.stderr.write(`${name}: not accepted. ${error.message}\n`);
    process.exitCode = 1;
  }
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
