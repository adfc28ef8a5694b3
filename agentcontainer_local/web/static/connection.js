// Whether the server answers. When a call finds that it does not, this asks again and again until it does.

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;

async function answers() {
  try {
    return (await fetch("healthz", { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS) })).ok;
  } catch {
    return false;
  }
}

class Connection extends EventTarget {
  lostAt = null;

  get lost() { return this.lostAt !== null; }

  // Called with each call that was not answered. One may be cut off by something else: only a second one says it all.
  async failed() {
    if (this.lost) return;
    this.lostAt = new Date();
    if (await answers()) return this.#found();
    this.dispatchEvent(new Event("lost"));
    do await new Promise((resolve) => setTimeout(resolve, EVERY_MS)); while (!await answers());
    return this.#found();
  }

  #found() {
    this.lostAt = null;
    this.dispatchEvent(new Event("found"));
  }

  // Resolves after `ms`; at once when the server is found again, and not before it is.
  async pause(ms, signal) {
    const until = (event) => new Promise((resolve) => {
      this.addEventListener(event, resolve, { once: true });
      signal?.addEventListener("abort", resolve, { once: true });
    });
    const found = until("found");
    await Promise.race([found, new Promise((resolve) => setTimeout(resolve, ms))]);
    if (this.lost && !signal?.aborted) await found;
  }
}

export const connection = new Connection();
