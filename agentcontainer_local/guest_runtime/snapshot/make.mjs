// Makes the snapshot of Pi, and keeps it only if Pi started from it sends the same requests as plain Pi.
import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { SNAPSHOT } from "../launch.mjs";
import { ROOT, runPiWithAll, started } from "../rehearsal.mjs";

const ESBUILD = "/esbuild/node_modules/esbuild";
const SCRIPT = "/tmp/pi.cjs";
const PATIENCE_MS = 180_000;

/** `plain`: what plain Pi did in `runPiWithAll`. Answers why there is no snapshot, or null if there is one. */
export async function makeSnapshot(plain) {
  try {
    mkdirSync(dirname(SNAPSHOT));
    await carryOut([`${ROOT}/guest/snapshot/bundle.mjs`, ESBUILD, ROOT, SCRIPT]);
    await carryOut(["--no-warnings", "--snapshot-blob", SNAPSHOT, "--build-snapshot", SCRIPT]);
    const found = await runPiWithAll(["--snapshot-blob", SNAPSHOT]);
    if (isDeepStrictEqual(found, plain)) return null;
    throw new Error("Pi started from it sends other requests.");
  } catch (error) {
    rmSync(dirname(SNAPSHOT), { recursive: true, force: true });
    return error.message;
  }
}

async function carryOut(argv) {
  const child = started(argv, PATIENCE_MS);
  const code = await child.ended;
  if (code !== 0) throw new Error(`node ${argv.join(" ")} failed (exit ${code}): ${child.said.slice(-2000)}`);
}
