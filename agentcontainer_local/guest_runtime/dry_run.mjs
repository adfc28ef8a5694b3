// Pi's first call to a model loads and compiles what later ones need. A Pi that waits for its task makes it beforehand:
// it is answered here, nothing of it leaves the container, and nothing of it stays in the session.
import { rmSync, writeFileSync } from "node:fs";
import { SESSION_ID } from "./paths.mjs";

const MESSAGE = "Wait for the task.";
const TEXT = "ready";

export class DryRun {
  /** Whether Pi's lines and calls are this dry run's. */
  on = true;
  #settle;
  #settled = new Promise((resolve) => (this.#settle = resolve));
  #failure = null;

  /** A line of Pi's. */
  heard({ type, message }) {
    if (type === "message_end" && message.stopReason === "error") this.#failure = message.errorMessage;
    if (type === "agent_settled") this.#settle();
  }

  /** A call to the model. */
  answer(request, response) {
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const events = ANSWERS[request.url.split("?")[0].split("/").pop()] ?? [];
      response.end(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(""));
    });
  }

  /** Resolves when Pi has an empty session again, whose id is written down for a later start of this container. */
  async play(pi) {
    await demand(pi, { type: "prompt", message: MESSAGE });
    await this.#settled;
    if (this.#failure) throw new Error(`The dry run failed: ${this.#failure}`);
    const { sessionFile } = await demand(pi, { type: "get_state" });
    await demand(pi, { type: "new_session" });
    rmSync(sessionFile);
    writeFileSync(SESSION_ID, (await demand(pi, { type: "get_state" })).sessionId);
    this.on = false;
  }
}

async function demand(pi, command) {
  const { success, data, error } = await pi.ask(command);
  if (!success) throw new Error(`Pi refused ${command.type}: ${error}`);
  return data;
}

const USAGE = { input_tokens: 1, output_tokens: 1 };
const ITEM = {
  type: "message", id: "msg_1", role: "assistant", status: "completed",
  content: [{ type: "output_text", text: TEXT, annotations: [] }],
};
const RESPONSE = { id: "resp_1", object: "response", model: "m", status: "completed", output: [ITEM] };
const CHUNK = { id: "c_1", object: "chat.completion.chunk", created: 1, model: "m" };
// By the last part of the path: each provider's way to stream a short answer.
const ANSWERS = {
  messages: [
    {
      type: "message_start",
      message: { id: "msg_1", type: "message", role: "assistant", model: "m", content: [], stop_reason: null, usage: USAGE },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: TEXT } },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: USAGE },
    { type: "message_stop" },
  ],
  responses: [
    { type: "response.created", response: { ...RESPONSE, status: "in_progress", output: [] } },
    { type: "response.output_item.added", output_index: 0, item: { ...ITEM, status: "in_progress" } },
    { type: "response.output_item.done", output_index: 0, item: ITEM },
    { type: "response.completed", response: { ...RESPONSE, usage: { ...USAGE, total_tokens: 2 } } },
  ],
  completions: [
    { ...CHUNK, choices: [{ index: 0, delta: { role: "assistant", content: TEXT }, finish_reason: null }] },
    { ...CHUNK, choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
    { ...CHUNK, choices: [], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } },
  ],
};
