// What happened in a task, from its events: an order of entries, and each of them as an element.

import { fill, h, keyed } from "./dom.js";
import { markdown } from "./markdown.js";
import { count, duration, moment, plain } from "./words.js";

const SAID = {
  started: "The container runs", slept: "The agent hibernates", woken: "The agent was woken",
  interrupted: "The container ended unexpectedly and starts again", finished: "Finished", failed: "Failed",
  cancelled: "Cancelled", expired: "Expired: nobody answered in time", switched: "The agent continues alone from here",
};
const STEP = 200;
const LIVE_LINES = 8;
const LONG_LINES = 10;
const LONG_TEXT = 900;

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
    else if (event === "notice" && data.message) add({ kind: "mark", id: `e${id}`, ...notice(data), at: createdAt });
  }
  return found;
}

const present = (data) => Object.fromEntries(Object.entries(data).filter(([, value]) => value !== null && value !== undefined));

const NOTICES = {
  retrying: "The model's provider failed; trying again", compacted: "The session was summarised",
  extension_error: "An extension of the agent failed", new_container: "A new container",
  egress_denied: "A connection was refused",
};

function notice(data) {
  if (data.kind === "preparing") return { text: data.message };
  const again = data.kind === "retrying" && data.delayMs ? ` in ${duration(data.delayMs)} (retry ${data.attempt ?? 1})` : "";
  return { text: (NOTICES[data.kind] ?? "Note") + again, more: data.message };
}

// What can be found in an entry.
export function textOf(item) {
  if (item.kind === "message") return [item.content, item.error].filter(Boolean).join("\n");
  if (item.kind === "tool") return [item.toolKey, oneOrAll(item.input), item.output].filter(Boolean).join("\n");
  return [item.text, item.more].filter(Boolean).join("\n");
}

const oneOrAll = (input) => input === null || input === undefined ? "" : inputText(input);

export class Transcript {
  constructor(files) {
    this.list = h("ol", { class: "transcript" });
    this.typing = h("div", { class: "typing prose", dir: "auto", hidden: true });
    this.calling = h("p", { class: "muted", hidden: true });
    this.element = h("div", {}, this.list, this.typing, this.calling);
    this.shown = STEP;
    this.items = [];
    this.files = files;         // of the task
    this.attached = new Map();
    this.printed = new Map();
    this.openFile = () => {};
    this.changed = () => {};
  }

  // `attached`: what came with each message, by its id.
  show(events, first, attached = this.attached) {
    this.attached = attached;
    this.items = [...first, ...entries(events)];
    for (const item of this.items) if (item.kind === "tool" && item.status) this.printed.delete(item.id);
    if (!first.length && this.items[0]?.role === "user") this.items[0].label = "Instructions";
    this.draw();
  }

  // The instructions are always there; what is hidden is between them and the rest.
  draw() {
    const [head, rest] = this.items[0]?.label ? [this.items.slice(0, 1), this.items.slice(1)] : [[], this.items];
    const hidden = Math.max(0, rest.length - this.shown);
    const gap = hidden ? [{ kind: "gap", id: "gap", hidden }] : [];
    const known = this.files.all.map((file) => file.id).join();
    const sign = (item) => JSON.stringify([item, this.printed.get(item.id), this.attached.get(item.id)?.map((file) => file.id), item.role === "assistant" && item.content?.includes("](") ? known : null]);
    keyed(this.list, [...head, ...gap, ...rest.slice(hidden)], (item) => item.id, sign, (item, old) => this.entry(item, old));
    this.changed();
  }

  showAll() {
    this.shown = Infinity;
    this.draw();
  }

  // The element of an entry, shown if it was hidden.
  reveal(item) {
    const behind = this.items.length - this.items.indexOf(item);
    if (behind > this.shown) {
      this.shown = behind + 10;
      this.draw();
    }
    const element = [...this.list.children].find((one) => one.dataset.key === item.id);
    element.querySelectorAll("details").forEach((fold) => { fold.open = true; });
    element.querySelector(".clipped + .more")?.click();
    return element;
  }

  entry(item, old) {
    if (item.kind === "gap") return this.gap(item);
    if (item.kind === "mark") return mark(item);
    if (item.kind === "tool") return tool(item, old, this.printed.get(item.id));
    return this.message(item, old);
  }

  gap({ hidden }) {
    const more = () => {
      this.shown += STEP;
      this.draw();
    };
    return h("li", { class: "entry gap" }, h("button", { type: "button", class: "quiet", on: { click: more } }, `Show ${Math.min(hidden, STEP)} earlier of ${hidden}`));
  }

  message(item, old) {
    const user = item.role === "user";
    const files = this.attached.get(item.id) ?? [];
    const state = item.label ? null : { queued: "waits for its turn", failed: "failed" }[item.status];
    return h("li", { class: `entry said ${user ? "user" : "agent"}` },
      h("p", { class: "who" }, item.label ?? (user ? "You" : "Agent"), state ? h("span", { class: "muted" }, ` · ${state}`) : null, time(item.at)),
      user ? given(item, old) : markdown(item.content, { files: this.files, breaks: true }),
      item.error ? h("p", { class: "fault", dir: "auto" }, item.error) : null,
      files.length ? h("ul", { class: "chips" }, files.map((file) => h("li", {},
        h("button", { type: "button", class: "chip", dir: "auto", on: { click: () => this.openFile(file) } }, plain(file.filename))))) : null);
  }

  // What a command at work has printed last; its whole output takes the place of that.
  print({ id, text }) {
    this.printed.set(id, text.trimEnd().split("\n").slice(-LIVE_LINES).join("\n"));
    this.draw();
  }

  // How long the model has been waited for, and how much of its answer has come.
  wait(call) {
    const at = call && call.state !== "ended";
    this.calling.hidden = !at;
    if (at) this.calling.textContent = call.state === "waiting" ? `Waiting for the model, ${duration(call.waitedSeconds * 1000)}` : `The model answers, ${count(call.receivedCharacters)} characters`;
    this.changed();
  }

  // Words of an answer as they come; the message itself takes their place.
  type(text) {
    this.typing.hidden = text === null;
    if (text === null) fill(this.typing);
    else this.typing.append(text);
    this.changed();
  }
}

// What a user said: a long text is clipped until it is asked for.
function given(item, old) {
  const lines = item.content.trimEnd().split("\n").length;
  const long = lines > LONG_LINES || item.content.length > LONG_TEXT;
  const text = h("div", { class: "plain", dir: "auto" }, item.content);
  if (!long) return text;
  const clip = (on) => {
    text.classList.toggle("clipped", on);
    more.setAttribute("aria-expanded", String(!on));
    more.textContent = on ? `Show all ${lines > 1 ? `${lines} lines` : "of it"}` : "Show less";
  };
  const more = h("button", { type: "button", class: "quiet more", on: { click: () => clip(!text.classList.contains("clipped")) } });
  clip(!old?.querySelector(".plain:not(.clipped)"));
  return [text, more];
}

const time = (at) => at ? h("time", { datetime: at, title: moment(at) }, new Date(at).toLocaleTimeString()) : null;

const mark = (item) => h("li", { class: "entry mark" }, h("span", {}, item.text), time(item.at),
  item.more ? h("p", { class: "muted plain", dir: "auto" }, item.more) : null);

function tool(item, old, printed) {
  const state = item.status ?? "running";
  const took = item.durationMs !== undefined && item.durationMs !== null ? duration(item.durationMs) : "";
  const fold = h("details", { class: `tool ${state}`, open: old?.querySelector("details")?.open ?? false },
    h("summary", {}, h("span", { class: "tool-name" }, item.toolKey), h("code", { class: "tool-line" }, oneLine(item.input)),
      h("span", { class: "tool-state" }, state === "running" ? "at work" : state === "failed" ? `failed ${took}` : took)),
    item.input === null || item.input === undefined
      ? h("p", { class: "muted" }, "The input is too large to be shown.")
      : h("pre", { tabindex: "0", "aria-label": "Input" }, inputText(item.input)),
    item.output ? h("pre", { tabindex: "0", class: "output", dir: "auto", "aria-label": "Output" }, item.output) : null);
  return h("li", { class: "entry" }, fold, printed ? h("pre", { class: "live", dir: "auto", "aria-label": "Output so far" }, printed) : null);
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
