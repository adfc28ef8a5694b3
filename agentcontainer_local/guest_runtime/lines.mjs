// Cuts a byte stream into lines at LF alone, and throws long unwanted lines away while they come in.
const LF = 10;
const PREFIX = 96;

/**
 * `wanted(prefix)` is asked once a line, with its first bytes as text; `onLine(text)` gets the wanted ones whole.
 * Pi writes lines of megabytes, and U+2028 inside of them: no cap on length, no other separator.
 */
export class Lines {
  #wanted;
  #onLine;
  #chunks = [];
  #size = 0;
  #kept = null; // of the line being read: null = not decided yet

  constructor(onLine, wanted = () => true) {
    this.#onLine = onLine;
    this.#wanted = wanted;
  }

  push(chunk) {
    let start = 0;
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      this.#add(chunk.subarray(start, end));
      this.#finish();
      start = end + 1;
    }
    if (start < chunk.length) this.#add(chunk.subarray(start));
  }

  #add(part) {
    if (this.#kept === false) return;
    this.#chunks.push(part);
    this.#size += part.length;
    if (this.#kept === null && this.#size >= PREFIX) this.#decide();
  }

  #decide() {
    const head = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#kept = this.#wanted(head.toString("latin1", 0, PREFIX));
    this.#chunks = this.#kept ? [head] : [];
  }

  #finish() {
    if (this.#kept === null && this.#size > 0) this.#decide();
    if (this.#kept) this.#onLine(Buffer.concat(this.#chunks).toString("utf8"));
    this.#chunks = [];
    this.#size = 0;
    this.#kept = null;
  }
}
