// What each of the host's commands does.
import { fetchInputs } from "./inputs.mjs";
import { PiGone } from "./pi.mjs";

/** Prompts and steers keep their order; abort and stop do not wait for them. */
export class Actions {
  #pi;
  #events;
  #prompts;
  #ready;
  #takeOver;
  #stop;
  #last = Promise.resolve();
  #calling = new AbortController(); // for what has not reached Pi yet

  /**
   * `ready` resolves when Pi may be prompted; `takeOver(launch)` does when it is as the task's launch has it, and never
   * rejects; `stop()` ends the run in order.
   */
  constructor({ pi, events, prompts, ready, takeOver, stop }) {
    this.#pi = pi;
    this.#events = events;
    this.#prompts = prompts;
    this.#ready = ready;
    this.#takeOver = takeOver;
    this.#stop = stop;
  }

  begin(command) {
    if (command.type === "launch") this.#last = this.#takeOver(command.launch);
    if (command.type === "prompt") this.#queue(command, (signal) => this.#prompt(command, signal));
    if (command.type === "steer") this.#queue(command, () => this.#steer(command));
    if (command.type === "abort") this.#abort();
    if (command.type === "stop") this.#stop();
  }

  #queue(command, work) {
    const { signal } = this.#calling;
    this.#last = this.#last.then(() => this.#attempt(command, signal, work));
  }

  async #attempt({ id }, signal, work) {
    try {
      signal.throwIfAborted();
      await work(signal);
    } catch (error) {
      if (signal.aborted) this.#events.push({ type: "settled", aborted: true }); // Pi will not say so: it never saw it
      else if (!(error instanceof PiGone)) this.#events.push({ type: "refused", id, message: error.message });
    }
  }

  async #prompt({ id, message, resume, inputs }, signal) {
    await fetchInputs(inputs ?? [], { signal });
    await this.#ready;
    signal.throwIfAborted();
    const resumed = Boolean(resume) && this.#prompts.delivered(id);
    if (!resumed) this.#prompts.note(id, message);
    await this.#say(id, resumed ? resume : message, "followUp", resumed);
  }

  async #steer({ id, message }) {
    await this.#ready;
    await this.#say(id, message, "steer");
  }

  /** Pi itself decides between starting and queueing, so there is no race with the end of its turn. */
  async #say(id, message, streamingBehavior, resumed = false) {
    const answer = await this.#pi.ask({ type: "prompt", message, streamingBehavior });
    if (!answer.success) throw new Error(answer.error);
    this.#events.push({ type: "prompted", id, resumed });
  }

  #abort() {
    this.#calling.abort();
    this.#calling = new AbortController();
    void this.#pi.ask({ type: "clear_queue" }).catch(() => {}); // else Pi goes on with what is queued
    void this.#pi.ask({ type: "abort" }).catch(() => {});
  }
}
