// Where things lie in a container; the variables are for tests outside of one.
import { dirname } from "node:path";

export const RUN_DIR = process.env.AC_RUN_DIR ?? "/run/agentcontainer";
export const WORKSPACE = process.env.AC_WORKSPACE ?? "/workspace";
export const STATE_DIR = process.env.AC_STATE ?? "/var/lib/agentcontainer";
export const DOOR = `${RUN_DIR}/host.sock`;
export const EGRESS = `${RUN_DIR}/egress.sock`;
export const LAUNCH = `${RUN_DIR}/launch.json`;
// Of a Pi that has waited for its task, and chose the id itself.
export const SESSION_ID = `${STATE_DIR}/session-id`;
export const BIN_DIR = `${dirname(import.meta.dirname)}/bin`;
// On the gateway: where what ends the run asks that the host be told all that Pi has reported, and, for a command of the
// shell, all that was printed before it.
export const REPORTED_PATH = "/agentcontainer/reported";
export const OUTPUT_PATH = "/agentcontainer/output";
