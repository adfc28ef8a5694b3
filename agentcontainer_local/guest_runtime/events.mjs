// What the host is told: numbered, kept until acknowledged, sent in batches, one at a time.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { exchange, jsonOf, nextDelay, Unreachable } from "./door.mjs";

const BATCH_BYTES = 1 << 20;
const FULL_BYTES = 16 << 20;
const DELTA_BYTES = 256 * 1024;
const DELTA_PAUSE_MS = 40;
const UNACCEPTABLE = new Set([400, 413, 422]);

/**
 * `push(event)` numbers and keeps an event; `delta(text)` and `live(key, event)` are lost when the host is away.
 * `onFull` and `onRoom` tell when to stop and to go on reading what makes the events; `onOver`: the host ended the run.
 */
export class Events {
  #boot = randomBytes(8).toString("hex"); // tells the host two lives of one container apart, both begin at 1
  #queue = []; // {seq|null, line, bytes}, oldest first
  #seq = 0;
  #keptBytes = 0;
  #deltaBytes = 0;
  #full = false;
  #wake = () => {};
  #reached = false;
  #over = false;
  #most = Infinity; // events in a batch: fewer and fewer while one among them is looked for that the host does not take
  #on;

  constructor({ onFull = () => {}, onRoom = () => {}, onOver = () => {} } = {}) {
    this.#on = { full: onFull, room: onRoom, over: onOver };
  }

  push(event, at = Date.now()) {
    this.#seq += 1;
    const line = jsonOf({ seq: this.#seq, at, event });
    this.#add({ seq: this.#seq, line, bytes: Buffer.byteLength(line) + 1 });
  }

  delta(text, at = Date.now()) {
    if (this.#deltaBytes + Buffer.byteLength(text) > DELTA_BYTES) return;
    const last = this.#queue.at(-1);
    const whole = last?.text !== undefined && !last.sending ? last.text + text : text;
    if (whole !== text) this.#drop([this.#queue.pop()]);
    const line = jsonOf({ at, event: { type: "delta", text: whole } });
    this.#add({ seq: null, text: whole, line, bytes: Buffer.byteLength(line) + 1 });
  }

  /** What `key` is at the moment: live only, and in the place of what was not sent yet. */
  live(key, event, at = Date.now()) {
    const before = this.#queue.find((entry) => entry.key === key && !entry.sending);
    if (before) this.#keep((entry) => entry !== before);
    const line = jsonOf({ at, event });
    const bytes = Buffer.byteLength(line) + 1;
    if (this.#deltaBytes + bytes <= DELTA_BYTES) this.#add({ seq: null, key, line, bytes });
  }

  /** Sends until the run is over. */
  async pump() {
    for (let delay = 50; !this.#over; ) {
      if (this.#queue.length === 0) await new Promise((resolve) => (this.#wake = resolve));
      if (this.#queue.every((entry) => entry.seq === null)) await sleep(DELTA_PAUSE_MS);
      this.#reached = await this.#send(this.#batch());
      delay = this.#reached ? 50 : await nextDelay(delay);
    }
  }

  /** Resolves when all is acknowledged, or after `limitMs`; while `patient()`, time without a host does not count. */
  async flush(limitMs, patient = () => false) {
    for (let spent = 0; spent < limitMs && this.#keptBytes > 0 && !this.#over; ) {
      await sleep(20);
      if (this.#reached || !patient()) spent += 20;
    }
  }

  #add(entry) {
    this.#queue.push(entry);
    if (entry.seq === null) this.#deltaBytes += entry.bytes;
    else this.#keptBytes += entry.bytes;
    if (!this.#full && this.#keptBytes > FULL_BYTES) this.#signal(true);
    this.#wake();
  }

  #batch() {
    const batch = [];
    let size = 0;
    for (const entry of this.#queue) {
      if (batch.length > 0 && size + entry.bytes > BATCH_BYTES) break;
      if (batch.length >= this.#most) break;
      entry.sending = true;
      batch.push(entry);
      size += entry.bytes;
    }
    return batch;
  }

  async #send(batch) {
    const body = batch.map((entry) => `${entry.line}\n`).join("");
    const headers = { "content-type": "application/x-ndjson", "agentcontainer-boot": this.#boot };
    let answer;
    try {
      answer = await exchange("POST", "/guest/events", { headers, body });
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
    }
    if (answer?.status === 409) {
      this.#over = true;
      this.#on.over();
    }
    if (UNACCEPTABLE.has(answer?.status)) return this.#sift(batch, answer.body?.error?.message);
    const stored = answer?.status === 200 && Number.isInteger(answer.body?.ack);
    if (stored) this.#most = Infinity;
    const sentDeltas = new Set(batch.filter((entry) => entry.seq === null)); // stored or not: their moment is over
    const ack = stored ? answer.body.ack : 0;
    this.#keep((entry) => !sentDeltas.has(entry) && (entry.seq === null || entry.seq > ack));
    return stored;
  }

  /** One event that the host will never take must not keep back all that come after it. */
  #sift(batch, why) {
    this.#most = Math.max(1, batch.length >> 1);
    if (batch.length > 1) return true;
    console.error(`The host does not take this event (${why}): ${batch[0].line.slice(0, 1000)}`);
    this.#keep((entry) => entry !== batch[0]);
    return true;
  }

  #keep(test) {
    const gone = this.#queue.filter((entry) => !test(entry));
    this.#queue = this.#queue.filter(test);
    this.#drop(gone);
    if (this.#full && this.#keptBytes < FULL_BYTES / 2) this.#signal(false);
  }

  #drop(entries) {
    for (const { seq, bytes } of entries) {
      if (seq === null) this.#deltaBytes -= bytes;
      else this.#keptBytes -= bytes;
    }
  }

  #signal(full) {
    this.#full = full;
    if (full) this.#on.full();
    else this.#on.room();
  }
}
