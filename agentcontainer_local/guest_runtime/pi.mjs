// Pi as a running process: commands with answers, its lines, its end.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Lines } from "./lines.mjs";
import { tail, wanted } from "./translation.mjs";

const STDERR_LIMIT = 4 * 1024;
const LAST_OUTPUT_MS = 500;

/** Pi ended, so there is no answer. */
export class PiGone extends Error {}

export class Pi {
  #child;
  #asked = new Map();
  #number = 0;
  #stderr = "";
  /** Resolves once with `{code, signal, stderr}`, after the last of its lines. */
  ended;

  /** `onLine(object)` gets each wanted line that is not the answer to a command. */
  constructor(child, onLine) {
    this.#child = child;
    const lines = new Lines((text) => this.#read(text, onLine), wanted);
    child.stdout.on("data", (chunk) => lines.push(chunk));
    child.stderr.on("data", (chunk) => (this.#stderr = (this.#stderr + chunk.toString("utf8")).slice(-STDERR_LIMIT)));
    child.stdin.on("error", () => {}); // it died: `ended` says so
    this.ended = this.#end();
  }

  /** Sends one RPC command; resolves with Pi's answer `{success, data?, error?}`. */
  ask(command) {
    return new Promise((resolve, reject) => {
      const id = `ac-${(this.#number += 1)}`;
      this.#asked.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
      if (this.#over()) this.#forsake();
    });
  }

  pause() {
    this.#child.stdout.pause();
  }

  resume() {
    this.#child.stdout.resume();
  }

  /** Ends Pi: by end of input, as it likes it, and by force after `graceMs`. */
  async end(graceMs) {
    this.resume(); // it cannot end while it waits for us to read
    this.#child.stdin.end();
    const late = sleep(graceMs, undefined, { ref: false }).then(() => this.#child.kill("SIGKILL"));
    await Promise.race([this.ended, late]);
    return this.ended;
  }

  kill() {
    this.#child.kill("SIGKILL");
  }

  #read(text, onLine) {
    let line;
    try {
      line = JSON.parse(text);
    } catch {
      return; // not a line of the protocol, such as something printed by a library
    }
    const asked = line.type === "response" && this.#asked.get(line.id);
    if (!asked) return onLine(line);
    this.#asked.delete(line.id);
    asked.resolve(line);
  }

  async #end() {
    const child = this.#child;
    const [code, signal] = await this.#exit();
    // Its own children may hold the pipes open for ever, so what is still on the way gets a moment only.
    if (!child.stdout.closed) await Promise.race([once(child, "close"), sleep(LAST_OUTPUT_MS)]);
    this.#forsake();
    if (child.failure) this.#stderr += `Pi could not be started: ${child.failure.message}`;
    return { code, signal, stderr: tail(this.#stderr, STDERR_LIMIT) };
  }

  #exit() {
    return new Promise((resolve) => {
      if (this.#over()) return resolve([this.#child.exitCode, this.#child.signalCode]);
      this.#child.once("exit", (code, signal) => resolve([code, signal]));
      this.#child.once("error", () => resolve([null, null]));
    });
  }

  #over() {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.failure !== undefined;
  }

  #forsake() {
    for (const { reject } of this.#asked.values()) reject(new PiGone("Pi has ended."));
    this.#asked.clear();
  }
}
