// What happened in a task, from its events: an order of entries, and each of them as an element.

import { fill, h, keyed } from "./dom.js";
import { markdown } from "./markdown.js";
import { duration, moment, plain } from "./words.js";

const SAID = {
  started: "The container runs", slept: "The agent went to sleep", woken: "The agent was woken",
  interrupted: "The container ended unexpectedly, and is started again", finished: "Finished", failed: "Failed",
  cancelled: "Cancelled", expired: "Expired: nobody answered in time", switched: "It goes on by itself from here",
};
const STEP = 200;
const LIVE_LINES = 8;

// [{kind: "message" | "tool" | "mark", ...}] in the order in which they began.
export function entries(events) {
  const found = [];
  const byId = new Map();
  const add = (entry) => {
    found.push(entry);
    byId.set(entry.id, entry);
  };
  for (const { id, event, data, createdAt } of events) {
    if (event === "message.created") add({ kind: "message", ...data, at: createdAt });
    else if (event === "message.updated") Object.assign(byId.get(data.id) ?? {}, present(data));
    else if (event === "activity.started") add({ kind: "tool", ...data, status: null, at: createdAt });
    else if (event === "activity.completed") Object.assign(byId.get(data.id) ?? {}, present(data));
    else if (event === "task.updated" && SAID[data.event]) add({ kind: "mark", id: `e${id}`, text: SAID[data.event], more: data.reason, at: createdAt });
    else if (event === "notice" && data.message) add({ kind: "mark", id: `e${id}`, text: notice(data), more: data.message, at: createdAt });
  }
  return found;
}

const present = (data) => Object.fromEntries(Object.entries(data).filter(([, value]) => value !== null && value !== undefined));

const notice = (data) => ({
  retrying: "The model's provider failed; trying again", compacted: "The session was summarised",
  extension_error: "An extension of the agent failed", new_container: "A new container",
  egress_denied: "A connection was refused",
})[data.kind] ?? "Note";

export class Transcript {
  constructor() {
    this.list = h("ol", { class: "transcript" });
    this.earlier = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.showMore() } });
    this.typing = h("div", { class: "typing", hidden: true });
    this.element = h("div", {}, this.earlier, this.list, this.typing);
    this.shown = STEP;
    this.items = [];
    this.files = new Map();
    this.printed = new Map();
    this.openFile = () => {};
  }

  // `files`: what came with each message, by its id.
  show(events, first, files = this.files) {
    this.files = files;
    this.items = [...first, ...entries(events)];
    for (const item of this.items) if (item.kind === "tool" && item.status) this.printed.delete(item.id);
    if (!first.length && this.items[0]?.role === "user") this.items[0].label = "Instructions";
    this.draw();
  }

  showMore() {
    this.shown += STEP;
    this.draw();
  }

  draw() {
    const hidden = Math.max(0, this.items.length - this.shown);
    this.earlier.hidden = hidden === 0;
    fill(this.earlier, `Show ${Math.min(hidden, STEP)} earlier of ${hidden}`);
    const sign = (item) => JSON.stringify([item, this.printed.get(item.id), this.files.get(item.id)?.map((file) => file.id)]);
    keyed(this.list, this.items.slice(hidden), (item) => item.id, sign, (item, old) => this.entry(item, old));
  }

  entry(item, old) {
    if (item.kind === "mark") return mark(item);
    if (item.kind === "tool") return tool(item, old, this.printed.get(item.id));
    return this.message(item);
  }

  message(item) {
    const user = item.role === "user";
    const files = this.files.get(item.id) ?? [];
    const state = item.label ? null : { queued: "waits for its turn", failed: "failed" }[item.status];
    return h("li", { class: `entry said ${user ? "user" : "agent"}` },
      h("p", { class: "who" }, item.label ?? (user ? "You" : "Agent"), state ? h("span", { class: "muted" }, ` · ${state}`) : null, time(item.at)),
      user ? h("div", { class: "plain", tabindex: "0", role: "group", "aria-label": item.label ?? "Your message" }, item.content) : markdown(item.content),
      item.error ? h("p", { class: "fault" }, item.error) : null,
      files.length ? h("ul", { class: "chips" }, files.map((file) => h("li", {},
        h("button", { type: "button", class: "chip", on: { click: () => this.openFile(file) } }, plain(file.filename))))) : null);
  }

  // What a command at work has printed last; its whole output takes the place of that.
  print({ id, text }) {
    this.printed.set(id, text.trimEnd().split("\n").slice(-LIVE_LINES).join("\n"));
    this.draw();
  }

  // Words of an answer as they come; the message itself takes their place.
  type(text) {
    if (text === null) {
      this.typing.hidden = true;
      fill(this.typing);
    } else {
      this.typing.hidden = false;
      this.typing.append(text);
    }
  }
}

const time = (at) => at ? h("time", { datetime: at, title: moment(at) }, new Date(at).toLocaleTimeString()) : null;

const mark = (item) => h("li", { class: "entry mark" }, h("span", {}, item.text), time(item.at),
  item.more ? h("p", { class: "muted plain" }, item.more) : null);

function tool(item, old, printed) {
  const state = item.status ?? "running";
  const took = item.durationMs !== undefined && item.durationMs !== null ? duration(item.durationMs) : "";
  const fold = h("details", { class: `tool ${state}`, open: old?.querySelector("details")?.open ?? false },
    h("summary", {}, h("span", { class: "tool-name" }, item.toolKey), h("code", { class: "tool-line" }, oneLine(item.input)),
      h("span", { class: "tool-state" }, state === "running" ? "at work" : state === "failed" ? `failed ${took}` : took)),
    item.input === null || item.input === undefined
      ? h("p", { class: "muted" }, "The input is too large to be shown.")
      : h("pre", { tabindex: "0", "aria-label": "Input" }, inputText(item.input)),
    item.output ? h("pre", { tabindex: "0", class: "output", "aria-label": "Output" }, item.output) : null);
  return h("li", { class: "entry" }, fold, printed ? h("pre", { class: "live", "aria-label": "Output so far" }, printed) : null);
}

const command = (input) => input && typeof input === "object" && (input.command ?? input.path ?? input.message);

const oneLine = (input) => {
  const text = typeof command(input) === "string" ? command(input) : JSON.stringify(input ?? "");
  return text.trim().split("\n")[0].slice(0, 200);
};

const inputText = (input) => {
  const keys = Object.keys(input);
  return keys.length === 1 && typeof input.command === "string" ? input.command : JSON.stringify(input, null, 2);
};
