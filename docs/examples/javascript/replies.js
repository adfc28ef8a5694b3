// Replies to support tickets, drafted by an agent: a small application that uses the AgentContainer API through fetch.

import { setTimeout as pause } from "node:timers/promises";
import { EventSource } from "eventsource";

const AGENT = "agt_standard_coding";
const MODEL = { provider: "anthropic", model: "claude-sonnet-4-5" };
const ENDED = new Set(["finished", "failed", "cancelled", "expired"]);
const INSTRUCTIONS = "Draft a reply to task_files/ticket.txt. Hand over reply.txt.";
const ATTEMPTS = 4;

export class NoReply extends Error {}
export class TooExpensive extends NoReply {}

export class Replies {
  #api;
  #key;
  #pauseMs;

  // pauseMs: before a request is repeated.
  constructor(url, key, { pauseMs = 1000 } = {}) {
    this.#api = `${url}/api/v1`;
    this.#key = key;
    this.#pauseMs = pauseMs;
  }

  // Answers { reply, summary }. onWords is called with what the agent says meanwhile.
  async draft(ticket, { maxCostUsd = 0.5, onWords = () => {} } = {}) {
    return await this.collect(await this.order(ticket, { maxCostUsd }), { onWords });
  }

  // Answers the task's id.
  async order(ticket, { maxCostUsd = 0.5 } = {}) {
    const body = {
      instructions: INSTRUCTIONS,
      inputFileIds: [await this.#upload("ticket.txt", ticket)],
      overrides: { ...MODEL, maxCostUsd, outputPolicy: { mode: "at_least_one" } },
    };
    return (await this.#json("POST", `/agents/${AGENT}/tasks`, body)).id;
  }

  async collect(taskId, { onWords = () => {} } = {}) {
    await this.#followed(taskId, onWords);
    const task = await this.#json("GET", `/tasks/${taskId}`);
    if (task.status !== "finished") {
      const reason = task.error ?? `The task was ${task.status}.`;
      throw reason.includes("budget") ? new TooExpensive(reason) : new NoReply(reason);
    }
    const [file] = (await this.#json("GET", `/tasks/${taskId}/files`)).data;
    const content = await this.#call("GET", `/tasks/${taskId}/files/${file.id}`);
    return { reply: await content.text(), summary: task.result };
  }

  async cancel(taskId) {
    await this.#call("POST", `/tasks/${taskId}/cancel`);
  }

  // A conversation about a ticket: answers a function that asks, and gives the agent's answer. It goes on in a new task
  // when the last message is more than seven days old.
  about(ticket) {
    let taskId = null;
    return async (question) => {
      if (taskId === null || ENDED.has((await this.#json("GET", `/tasks/${taskId}`)).status)) {
        const body = { instructions: `Answer questions about this ticket:\n${ticket}`, message: question, overrides: MODEL };
        taskId = (await this.#json("POST", `/agents/${AGENT}/conversations`, body)).task.id;
      } else {
        await this.#json("POST", `/conversations/${taskId}/messages`, { content: question });
      }
      return await this.#answer(taskId);
    };
  }

  async #answer(taskId) {
    for (;;) {
      const task = await this.#json("GET", `/tasks/${taskId}`);
      if (task.turnStatus === "failed" || ENDED.has(task.status)) throw new NoReply(task.error ?? "There is no answer.");
      if (task.status === "awaiting_input") break;
      await pause(this.#pauseMs);
    }
    const messages = (await this.#json("GET", `/conversations/${taskId}/messages`)).data;
    return messages.find((message) => message.role === "assistant").content;
  }

  // Resolves when the task has ended. EventSource connects again by itself, and goes on behind the last event.
  #followed(taskId, onWords) {
    return new Promise((resolve) => {
      const events = new EventSource(`${this.#api}/tasks/${taskId}/events?stream=true`, {
        fetch: (url, options) =>
          fetch(url, { ...options, headers: { ...options.headers, authorization: `Bearer ${this.#key}` } }),
      });
      events.addEventListener("message.created", ({ data }) => {
        const { role, content } = JSON.parse(data);
        if (role === "assistant") onWords(content);
      });
      events.addEventListener("task.updated", ({ data }) => {
        if (!ENDED.has(JSON.parse(data).status)) return;
        events.close();
        resolve();
      });
    });
  }

  async #upload(filename, content) {
    const prepared = await this.#json("POST", "/uploads/prepare", { filename, contentType: "text/plain" });
    await this.#call("PUT", prepared.uploadUrl, content);
    return (await this.#json("POST", "/uploads/complete", { uploadId: prepared.uploadId })).fileId;
  }

  async #json(method, path, body) {
    return await (await this.#call(method, path, body === undefined ? undefined : JSON.stringify(body))).json();
  }

  // Repeats what failed on the way or in the server. A POST is done once, thanks to its Idempotency-Key.
  async #call(method, path, body) {
    const headers = { authorization: `Bearer ${this.#key}` };
    if (method === "POST") {
      headers["idempotency-key"] = crypto.randomUUID();
      if (body !== undefined) headers["content-type"] = "application/json";
    }
    const url = path.startsWith("/") ? this.#api + path : path;
    for (let attempt = 1; ; attempt++) {
      const last = attempt === ATTEMPTS;
      try {
        const response = await fetch(url, { method, headers, body });
        if (response.ok) return response;
        const error = new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
        if (last || response.status < 500) throw Object.assign(error, { final: true });
      } catch (error) {
        if (last || error.final) throw error;
      }
      await pause(this.#pauseMs * attempt);
    }
  }
}
