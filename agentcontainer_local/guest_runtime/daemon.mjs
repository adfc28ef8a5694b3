// The container's main process: it starts Pi, then stands between Pi and the host.
import { prepare, startPi } from "./launch.mjs";

const launch = prepare();
const failure = launch.skills?.length ? await installed(launch) : null;
const child = failure ? null : startPi(launch);
const { fail, run } = await import("./run.mjs"); // after the spawn: loading this overlaps with Pi's start
process.exit(failure ? await fail(failure.message) : await run(launch, child));

async function installed({ skills, imageEnv, env }) {
  const { install } = await import("./skills.mjs");
  return install(skills, { ...imageEnv, ...env }).then(() => null, (error) => error);
}
