// What the host wants done: a stream of commands, opened again whenever it breaks, each command done once.
import { Lines } from "./lines.mjs";
import { insist, open, Unreachable } from "./door.mjs";

/** Follows the host's commands for ever; `act(command)` is called once for each id. `waits()`: no task has come yet. */
export async function followCommands(act, waits = () => false) {
  const done = new Set();
  const lines = () =>
    new Lines((text) => {
      const command = text.trim() && JSON.parse(text); // a blank line is a heartbeat
      if (!command || done.has(command.id)) return;
      done.add(command.id);
      act(command);
    });
  for (;;) await insist(() => read(lines(), waits() ? { "agentcontainer-waiting": "1" } : {}));
}

/** Resolves when a stream that was open ends, so that the next try comes at once; rejects when none opened. */
async function read(lines, headers) {
  const answer = await open("GET", "/guest/commands", { headers });
  if (answer.statusCode !== 200) {
    answer.destroy();
    throw new Unreachable(`the host answered ${answer.statusCode}`);
  }
  let heard = false;
  try {
    for await (const chunk of answer) {
      heard = true;
      lines.push(chunk);
    }
  } catch {
    // cut: the same as an end
  }
  if (!heard) throw new Unreachable("the command stream ended at once");
}
