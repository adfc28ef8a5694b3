// The container's main process: it starts Pi, then stands between Pi and the host.
import { startPi } from "./launch.mjs";

const { launch, child } = startPi();
const { run } = await import("./run.mjs"); // after the spawn: loading this overlaps with Pi's start
process.exit(await run(launch, child));
