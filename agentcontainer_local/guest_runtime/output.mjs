// What the commands at work have printed: told to the host for good before one of them ends the run.
import { setTimeout as sleep } from "node:timers/promises";

const UPDATE_MS = 150; // Pi reports what a command prints every 100 ms
const FLUSH_MS = 2_000;

export class Output {
  #last = new Map(); // by call

  note(event) {
    if (event?.type === "tool_output") this.#last.set(event.callId, event);
    if (event?.type === "tool_ended") this.#last.delete(event.callId);
  }

  /** Resolves when the host has all that was printed before this was called. */
  async tell(pi, events) {
    // The first answer means that Pi has read the output; after the pause, the second one means that Pi has reported it.
    await pi.ask({ type: "get_state" });
    await sleep(UPDATE_MS);
    await pi.ask({ type: "get_state" });
    for (const event of this.#last.values()) events.push(event);
    await events.flush(FLUSH_MS);
  }

  /** Resolves when the host has all that Pi reported before this: Pi answers after what it has reported earlier. */
  async tellReported(pi, events) {
    await pi.ask({ type: "get_state" });
    await events.flush(FLUSH_MS);
  }
}
