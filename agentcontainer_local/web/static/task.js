// One task: what it is doing, what came of it, and what one may do with it.

import * as api from "./api.js";
import { latest } from "./calls.js";
import { Composer } from "./composer.js";
import { connection } from "./connection.js";
import { ask, button, field, fill, h, keyed, say } from "./dom.js";
import { Files } from "./files.js";
import { Find } from "./find.js";
import { Follow } from "./follow.js";
import { markdown } from "./markdown.js";
import { notify, notifyButton } from "./notify.js";
import { download, preview, saved } from "./preview.js";
import { badge, incomplete, isOver } from "./tasks.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";
import { usage } from "./usage.js";
import { age, bytes, duration, moment, plain, STATUS, titleOf } from "./words.js";
import { showWorkspace } from "./workspace.js";

const EVERY_MS = 2000;
const PAUSE_MS = 250;
const UNSEEN_MS = 15_000;
const SIGNS = { finished: "✓ ", failed: "✗ ", cancelled: "✗ ", expired: "✗ ", awaiting_input: "● ", running: "… ", pending: "… " };

export async function task(main, { id, signal, entitle }) {
  const view = new View(id, signal, entitle);
  await view.refresh();
  fill(main, view.element);
  view.begin();
}

class View {
  constructor(id, signal, entitle) {
    Object.assign(this, { id, signal, entitle, events: [], files: [], messages: [], calls: new Map(), last: 0, path: `/tasks/${id}` });
    this.outputs = new Files((file) => `${this.path}/files/${file.id}`, (file) => this.open(file), signal);
    this.transcript = new Transcript(this.outputs);
    this.transcript.openFile = (file) => preview(file, `/files/${file.id}/content`, this.outputs);
    this.find = new Find(this.transcript);
    this.timeline = new Timeline();
    this.head = h("div", {});
    this.actions = h("div", { class: "actions", role: "group", "aria-label": "What to do" });
    this.waits = h("p", { class: "waits", role: "status", hidden: true });
    this.outcome = h("div", {});
    this.list = h("ul", { class: "files" });
    this.everything = button("Download all", () => this.downloadAll(), { class: "quiet" });
    this.output = h("section", { "aria-label": "Files" }, h("div", { class: "head" }, h("h2", {}, "Files"), this.everything), this.list);
    this.composer = new Composer(id, () => this.sent());
    this.aside = h("aside", { "aria-label": "Figures" });
    this.tail = h("div", { class: "tail" });
    this.follower = new Follow(this.tail, signal);
    this.transcript.changed = () => this.follower.grown();
    this.element = this.drawn();
  }

  drawn() {
    return h("div", { class: "task" },
      h("div", { class: "head" }, this.head, this.actions), this.waits, this.timeline.element,
      h("div", { class: "columns" },
        h("div", { class: "column" }, this.outcome, this.output,
          h("section", { "aria-label": "Transcript" }, h("div", { class: "head" }, h("h2", {}, "Transcript"), this.find.element), this.transcript.element),
          h("div", { class: "dock" }, this.follower.button, this.composer.element), this.tail),
        this.aside));
  }

  // Once it is on the page.
  begin() {
    if (!isOver(this.task)) this.follower.begin();
    this.follow();
    this.lookWhileUnseen();
    addEventListener("printing", () => this.transcript.showAll(), { signal: this.signal });
  }

  // Everything that the server has now, and this page does not. The task comes first: if it is over, so is the rest.
  async refresh() {
    const task = await api.get(this.path, {}, this.signal);
    const [files, messages, calls] = await Promise.all([
      api.all(`${this.path}/files`, { order: "asc" }),
      this.said(task),
      latest(`${this.path}/model-calls`, this.calls, task.tokenUsage.calls, this.signal), this.more(),
    ]);
    Object.assign(this, { task, files, calls, messages });
    this.outputs.all = files;
    this.draw();
  }

  // The messages, with the files that came with each; of what takes no more messages they are asked for once.
  async said(task) {
    if (task.mode === "conversation") return (await api.get(`${this.path}/messages`, { limit: 1000 }, this.signal)).data.reverse();
    if (this.messages.length) return this.messages;
    return (await api.get(`${this.path}/messages`, { limit: 1000, order: "asc" }, this.signal)).data;
  }

  async more() {
    let page;
    do {
      page = await api.get(`${this.path}/events`, { limit: 1000, order: "asc", after: this.last }, this.signal);
      this.events.push(...page.data.filter((event) => event.id > this.last));
      this.last = this.events.at(-1)?.id ?? this.last;
    } while (page.pageInfo.hasMore);
  }

  // Until the task is over: its stream says that something is new, and the words of an answer as they come.
  async follow() {
    const clock = setInterval(() => this.tick(), EVERY_MS);
    this.signal.addEventListener("abort", () => clearInterval(clock));
    for (let pause = PAUSE_MS; !this.signal.aborted && !isOver(this.task); pause = Math.min(pause * 2, 10_000)) {
      try {
        const shown = await whileShown(this.signal);
        await this.refresh();
        if (isOver(this.task)) break;
        this.transcript.wait(this.task.modelCall ?? null);
        for await (const event of api.stream(`${this.path}/events`, this.last, shown)) {
          pause = PAUSE_MS;
          if (event.event === "message.delta") this.transcript.type(event.data.text);
          else if (event.event === "model.call") this.transcript.wait(event.data);
          else if (event.event === "activity.output") this.transcript.print(event.data);
          else this.soon(event);
        }
        await this.refresh();
      } catch (error) {
        if (this.signal.aborted || error.status === 401 || error.status === 404) break;
        if (connection.lost) pause = PAUSE_MS;
      }
      if (!isOver(this.task)) await connection.pause(pause, this.signal);
    }
    this.transcript.type(null);
    this.transcript.wait(null);
    this.follower.end();
    clearInterval(clock);
  }

  // A hidden tab has no stream. It polls the task now and then.
  lookWhileUnseen() {
    let clock;
    const look = async () => {
      if (connection.lost || isOver(this.task)) return;
      const task = await api.get(this.path, {}, this.signal).catch(() => this.task);
      if (document.hidden && task.status !== this.task.status) await this.refresh().catch(() => {});
    };
    const turned = () => {
      clearInterval(clock);
      if (document.hidden && !this.signal.aborted) clock = setInterval(look, UNSEEN_MS);
    };
    turned();
    document.addEventListener("visibilitychange", turned, { signal: this.signal });
    this.signal.addEventListener("abort", turned);
  }

  // Many events at once are one look at the server.
  soon(event) {
    if (["message.created", "message.updated", "activity.started"].includes(event.event) && event.data.role !== "user") this.transcript.type(null);
    this.late = true;
    this.looking ??= (async () => {
      while (this.late && !this.signal.aborted) {
        this.late = false;
        await this.refresh().catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
      this.looking = null;
    })();
  }

  sent() {
    this.follower.go();
    this.soon({ event: "sent", data: {} });
  }

  // What changes by itself: times, and how far the image is that the task waits for.
  async tick() {
    if (connection.lost) return;
    if (this.task.status === "pending" && !document.hidden) {
      this.task = await api.get(this.path, {}, this.signal).catch(() => this.task);
    }
    if (!this.signal.aborted) this.draw();
  }

  draw() {
    const { task } = this;
    this.entitle(SIGNS[task.status] + plain(titleOf(task)));
    this.drawHead();
    this.drawWaits();
    this.drawOutcome();
    this.timeline.show(this.events, task.createdAt, Date.now());
    // A task's instructions are its first message; in a conversation they stand before it.
    const talked = task.mode === "conversation" || (this.messages[0] && this.messages[0].content !== task.instructions);
    const given = talked
      ? [{ kind: "message", id: "instructions", role: "user", label: "Instructions", content: task.instructions, at: task.createdAt }] : [];
    const attached = new Map(this.messages.filter((message) => message.files.length).map((message) => [message.id, message.files]));
    this.output.hidden = !this.files.length;
    this.everything.hidden = this.files.length < 2;
    keyed(this.list, this.files, (file) => file.id, (file) => file.id, (file) => this.file(file));
    this.composer.show(task);
    this.transcript.show(this.events, given, attached);
    this.find.show();
    this.drawAside();
  }

  drawHead() {
    const { task } = this;
    const facts = JSON.stringify([task.status, task.title, task.queuePosition, task.turnStatus, task.mode]);
    if (this.facts === facts) return;
    const before = this.status;
    Object.assign(this, { facts, status: task.status });
    fill(this.head,
      h("p", { class: "crumbs" }, h("a", { href: "#/tasks" }, "Tasks"), " / ", h("code", {}, task.id)),
      h("h1", { dir: "auto" }, titleOf(task)), h("p", { class: "under" }, badge(task), " ", h("a", { href: `#/agents/${task.agentId}` }, task.agentName),
        h("span", { class: "muted" }, ` · ${task.execution.model} · ${task.mode === "conversation" ? "conversation" : "task"}`)));
    if (before !== undefined && before !== task.status) this.moved();
    const focused = this.actions.contains(document.activeElement);
    fill(this.actions, this.buttons());
    if (focused) (this.actions.querySelector("button, a") ?? this.head).focus();
  }

  // To another status, while this page looked.
  moved() {
    const { task } = this;
    say(`The task is now: ${badge(task).textContent}`);
    if (isOver(task) || task.status === "awaiting_input") notify(`${STATUS[task.status]}: ${plain(titleOf(task))}`, task.result ?? task.error ?? "");
    if (isOver(task) && this.follower.following && this.follower.on) this.toOutcome = true;
  }

  buttons() {
    const { task } = this;
    return [
      task.status === "hibernating" ? button("Wake", () => this.wake(), { class: "primary" }) : null,
      task.mode === "conversation" && !isOver(task) ? button("Let it finish", () => this.release()) : null,
      task.status === "failed" ? button("Workspace", () => showWorkspace(task)) : null,
      isOver(task) ? null : notifyButton(),
      h("a", { class: "button", href: `#/new?from=${task.id}` }, "Run again"),
      isOver(task) ? null : button("Cancel", () => this.cancel(), { class: "danger" }),
    ];
  }

  // What it waits for at this moment, where that can be said.
  drawWaits() {
    const words = this.task.status === "pending" ? this.task.preparing : null;
    this.waits.hidden = !words;
    if (words && this.waits.textContent !== words) this.waits.textContent = words;
  }

  drawOutcome() {
    const { task } = this;
    const sign = JSON.stringify([task.status, task.result, task.error, task.hibernateUntilAt, this.files.map((file) => file.id)]);
    if (this.outcomeSign === sign) return;
    this.outcomeSign = sign;
    fill(this.outcome,
      task.result ? h("section", { class: `outcome ${incomplete(task) ? "partial" : "good"}`, "aria-label": "Result" },
        h("h2", {}, incomplete(task) ? "Result, incomplete" : "Result"), markdown(task.result, { files: this.outputs, breaks: true })) : null,
      task.error ? h("section", { class: "outcome bad", "aria-label": "Error" }, h("h2", {}, "Error"), h("p", { class: "plain", dir: "auto" }, task.error)) : null,
      task.status === "hibernating" ? h("section", { class: "outcome", "aria-label": "Asleep" }, h("h2", {}, "Asleep"),
        h("p", {}, task.hibernateUntilAt ? `Until ${moment(task.hibernateUntilAt)}, or until it is woken. ` : "Until it is woken. ", "Nothing is running, and nothing is charged.")) : null);
    if (!this.toOutcome) return;
    this.toOutcome = false;         // who followed it to its end sees what came of it
    this.follower.end();
    queueMicrotask(() => this.outcome.scrollIntoView({ block: "start" }));
  }

  drawAside() {
    const { task } = this;
    const overrides = Object.entries(task.overrides);
    const fact = (name, value) => value === null || value === undefined ? null : h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value));
    const calls = [...this.calls.values()].filter((call) => call.status);
    const sign = JSON.stringify([task, calls.length]);
    const since = `${age(task.createdAt)} ago`.replace("now ago", "just now");
    if (this.asideSign === sign) {
      this.since.textContent = since;
      return;
    }
    this.since = h("time", { datetime: task.createdAt, title: moment(task.createdAt) }, since);
    this.asideSign = sign;
    const focused = document.activeElement?.closest(".usage .link");
    const open = this.aside.querySelector("details")?.open ?? false;
    fill(this.aside,
      h("section", { "aria-label": "Tokens and cost" }, h("h2", {}, "Tokens and cost"), usage(task, calls)),
      h("section", { "aria-label": "Facts" }, h("h2", {}, "Facts"), h("table", { class: "facts" }, h("tbody", {},
        fact("Created", this.since),
        fact("Container time", duration(Math.round(task.containerMinutes * 60) * 1000)),
        fact("Provider", task.execution.model === "scripted" ? null : task.execution.provider), fact("Model", task.execution.model), fact("Node", task.walls?.node), fact("Weak model", task.execution.weakModel),
        fact("Image", task.runtime.containerImage), fact("Turn", task.turnNumber)))),
      h("details", { open }, h("summary", {}, "More"), h("table", { class: "facts" }, h("tbody", {},
        fact("Agent version", h("code", {}, task.agentVersionId)), fact("Container version", h("code", {}, task.containerVersionId)),
        overrides.map(([name, value]) => fact(name, typeof value === "string" ? value : JSON.stringify(value))),
        Object.entries(task.metadata).map(([name, value]) => fact(name, typeof value === "string" ? value : JSON.stringify(value)))))));
    if (focused) this.aside.querySelector(".usage .link")?.focus();
  }

  file(file) {
    const path = `${this.path}/files/${file.id}`;
    return h("li", {},
      h("button", { type: "button", class: "file-name", dir: "auto", on: { click: () => this.open(file) } }, plain(file.filename)),
      file.outputName ? h("span", { class: "tag" }, file.outputName) : null,
      h("span", { class: "muted size" }, bytes(file.sizeBytes)),
      button("Download", () => download(file, path), { class: "quiet", "aria-label": `Download ${plain(file.filename)}` }));
  }

  open(file) {
    preview(file, `${this.path}/files/${file.id}`, this.outputs);
  }

  async downloadAll() {
    saved(await (await api.call("GET", `${this.path}/files.zip`, { signal: this.signal })).blob(), `${this.id}.zip`);
  }

  async cancel() {
    const done = await ask("Cancel this task?", h("p", {}, "Its container stops. Files that it has not handed over are lost."), "Cancel the task",
      () => api.post(`${this.path}/cancel`), "danger");
    if (done) await this.refresh();
  }

  async release() {
    const done = await ask("Let it finish by itself?", h("p", {}, "It takes no more messages. The agent works alone until it is done, and hands over its files."), "Let it finish",
      () => api.patch(this.path, { mode: "autonomous" }));
    if (done) await this.refresh();
  }

  async wake() {
    const text = h("textarea", { rows: 4 });
    const once = api.intent();
    const done = await ask("Wake the agent", field("Message (optional)", text, "The agent reads it when it continues."), "Wake", () => {
      const message = text.value.trim();
      return api.post(`${this.path}/wake`, message ? { kind: "message", message } : { kind: "external_wake" }, once);
    });
    if (done) await this.refresh();
  }
}

// A signal that lasts while the page is seen, once it is: a browser has only few connections to one server, and tabs
// that nobody looks at would hold them all.
async function whileShown(signal) {
  const turned = () => new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true, signal }));
  while (document.hidden) await turned();
  const hidden = new AbortController();
  turned().then(() => hidden.abort());
  return AbortSignal.any([signal, hidden.signal]);
}
