// All tasks, newest first, as they are now.

import * as api from "./api.js";
import { button, choice, fill, h, keyed } from "./dom.js";
import { cost } from "./usage.js";
import { age, count, duration, ENDED, moment, STATUS } from "./words.js";

const PAGE = 50;
const EVERY_MS = 2000;

export async function tasks(main, { query, signal }) {
  const status = query.get("status") ?? "";
  const list = h("tbody", {});
  const head = ["Status", "Task", "Agent", "Tokens", "Cost", "Time", "Age"];
  const table = h("table", { class: "list tasks" }, h("caption", { class: "unseen" }, "Tasks"),
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col", class: name.toLowerCase() }, name)))), list);
  const empty = h("div", {});
  const more = h("div", { class: "actions" });
  const filter = choice([["", "All"], ...Object.entries(STATUS)], status, { id: "status", "aria-label": "Status" });
  filter.addEventListener("change", () => { location.hash = filter.value ? `#/tasks?status=${filter.value}` : "#/tasks"; });
  fill(main, h("div", { class: "head" }, h("h1", {}, "Tasks"), filter), table, empty, more);

  let older = [];
  let cursor = null;
  let recent = [];

  const draw = () => {
    const shown = [...new Map([...recent, ...older].map((task) => [task.id, task])).values()];
    keyed(list, shown, (task) => task.id, (task) => JSON.stringify([task.status, task.title, task.tokenUsage, cost(task), task.queuePosition]), row);
    for (const element of list.children) tick(element, shown.find((task) => task.id === element.dataset.key));
    table.hidden = !shown.length;
    fill(empty, shown.length ? null : nothing(status));
    fill(more, cursor ? button("Show older ones", next, { class: "quiet" }) : null);
  };
  const ask = (from) => api.get("/tasks", { limit: PAGE, status, cursor: from }, signal);
  const next = async () => {
    const page = await ask(cursor);
    older.push(...page.data);
    cursor = page.pageInfo.nextCursor;
    draw();
  };
  const refresh = async () => {
    const page = await ask();
    recent = page.data;
    if (!older.length) cursor = page.pageInfo.nextCursor;
    draw();
  };

  await refresh();
  repeat(refresh, signal);
}

// As long as somebody looks.
function repeat(refresh, signal) {
  const again = () => setTimeout(async () => {
    if (signal.aborted) return;
    if (!document.hidden) await refresh().catch(() => {});
    if (!signal.aborted) again();
  }, EVERY_MS);
  again();
}

function row(task) {
  const usage = task.tokenUsage;
  const tokens = usage.inputTokens + usage.cacheReadTokens + usage.cacheWriteTokens + usage.outputTokens;
  return h("tr", {},
    h("td", { class: "status" }, badge(task)),
    h("td", { class: "task" }, h("a", { href: `#/tasks/${task.id}` }, task.title)),
    h("td", { class: "agent" }, task.agentName),
    h("td", { class: "tokens number" }, count(tokens)),
    h("td", { class: "cost number", title: "Container and model" }, cost(task)),
    h("td", { class: "time number" }),
    h("td", { class: "age number", title: moment(task.createdAt) }));
}

function tick(element, task) {
  const time = task.startedAt ? duration(Math.round(task.containerMinutes * 60) * 1000) : "–";
  for (const [name, text] of [[".time", time], [".age", age(task.createdAt)]]) {
    const cell = element.querySelector(name);
    if (cell.textContent !== text) cell.textContent = text;
  }
}

export const incomplete = (task) => task.status === "finished" && task.metadata.completion === "incomplete";

export const badge = (task) => h("span", { class: `badge ${incomplete(task) ? "incomplete" : task.status}` }, incomplete(task) ? "Incomplete" : STATUS[task.status],
  task.queuePosition ? ` (${task.queuePosition})` : null);

const nothing = (status) => status
  ? h("div", { class: "empty" }, h("h2", {}, `No task is “${STATUS[status]}”`), h("p", {}, h("a", { href: "#/tasks" }, "Show all tasks")))
  : h("div", { class: "empty" }, h("h2", {}, "No tasks yet"),
    h("p", {}, "Tell an agent what to do, give it the files that it needs, and get files back."),
    h("p", {}, h("a", { class: "button primary", href: "#/new" }, "Dispatch the first task")),
    h("p", { class: "muted" }, "Without a model provider's key, the model ", h("code", {}, "scripted"),
      " does what fenced blocks say. A key is set under ", h("a", { href: "#/account" }, "Account"), "."));

export const isOver = (task) => ENDED.has(task.status);
