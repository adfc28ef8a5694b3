// All tasks, newest first, as they are now: searched, filtered, and cancelled together.

import * as api from "./api.js";
import { connection } from "./connection.js";
import { ask, button, choice, fill, h, keyed } from "./dom.js";
import { cost } from "./usage.js";
import { age, count, duration, ENDED, moment, STATUS, titleOf } from "./words.js";

const PAGE = 50;
const EVERY_MS = 2000;
const TYPING_MS = 250;
const AT_ONCE = 5;

export async function tasks(main, { query, signal, kept }) {
  const list = new List(query, signal, kept);
  const agents = await api.all("/agents");
  fill(main, list.drawn(agents));
  if (kept.recent) list.draw();         // come back to: as it was left
  await list.refresh();
  list.repeat();
}

class List {
  constructor(query, signal, kept) {
    Object.assign(this, { signal, kept, selected: new Set() });
    this.asked = { search: query.get("search") ?? "", status: query.get("status") ?? "", agent: query.get("agent") ?? "" };
    kept.older ??= [];
    kept.cursor ??= null;
  }

  drawn(agents) {
    this.rows = h("tbody", {});
    this.all = h("input", { type: "checkbox", "aria-label": "Select all tasks that have not ended", on: { change: () => this.selectAll(this.all.checked) } });
    const head = ["Status", "Task", "Agent", "Tokens", "Cost", "Time", "Age"];
    this.table = h("table", { class: "list tasks" }, h("caption", { class: "unseen" }, "Tasks"),
      h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col", class: name.toLowerCase() }, name === "Status" ? [this.all, name] : name)))), this.rows);
    this.empty = h("div", {});
    this.more = h("div", { class: "actions start" });
    this.chosen = h("div", { class: "chosen", role: "group", "aria-label": "Selected tasks", hidden: true });
    return [h("div", { class: "head" }, h("h1", {}, "Tasks"), this.filters(agents)), this.chosen, this.table, this.empty, this.more];
  }

  filters(agents) {
    const search = h("input", { type: "search", placeholder: "Search titles", "aria-label": "Search titles", maxlength: 200, value: this.asked.search });
    const agent = choice([["", "All agents"], ...agents.map((one) => [one.id, one.name])], this.asked.agent, { "aria-label": "Agent" });
    const status = choice([["", "All"], ...Object.entries(STATUS)], this.asked.status, { id: "status", "aria-label": "Status" });
    const changed = () => this.look({ search: search.value.trim(), agent: agent.value, status: status.value });
    let typed;
    search.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(changed, TYPING_MS); });
    agent.addEventListener("change", changed);
    status.addEventListener("change", changed);
    return h("div", { class: "filters", role: "search" }, search, agent, status);
  }

  // For other tasks, at an address of their own.
  async look(asked) {
    this.asked = asked;
    const words = new URLSearchParams(Object.entries(asked).filter(([, value]) => value)).toString();
    history.replaceState(history.state, "", words ? `#/tasks?${words}` : "#/tasks");
    Object.assign(this.kept, { older: [], cursor: null });
    this.selected.clear();
    await this.refresh();
  }

  page(cursor) {
    const { search, status, agent } = this.asked;
    return api.get(agent ? `/agents/${agent}/tasks` : "/tasks", { limit: PAGE, search, status, cursor }, this.signal);
  }

  async refresh() {
    const asked = this.asked;
    const page = await this.page();
    if (asked !== this.asked) return;
    this.kept.recent = page.data;
    if (!this.kept.older.length) this.kept.cursor = page.pageInfo.nextCursor;
    this.draw();
  }

  async next() {
    const page = await this.page(this.kept.cursor);
    this.kept.older.push(...page.data);
    this.kept.cursor = page.pageInfo.nextCursor;
    this.draw();
  }

  // As long as somebody looks.
  async repeat() {
    while (!this.signal.aborted) {
      await connection.pause(EVERY_MS, this.signal);
      if (!this.signal.aborted && !document.hidden) await this.refresh().catch(() => {});
    }
  }

  draw() {
    const shown = [...new Map([...this.kept.recent, ...this.kept.older].map((task) => [task.id, task])).values()];
    this.open = shown.filter((task) => !isOver(task));
    for (const id of this.selected) if (!this.open.some((task) => task.id === id)) this.selected.delete(id);
    keyed(this.rows, shown, (task) => task.id, (task) => JSON.stringify([task.status, task.title, task.tokenUsage, cost(task), task.queuePosition, task.preparing]), (task) => this.row(task));
    const byId = new Map(shown.map((task) => [task.id, task]));
    for (const element of this.rows.children) tick(element, byId.get(element.dataset.key));
    this.table.hidden = !shown.length;
    fill(this.empty, shown.length ? null : nothing(this.asked));
    fill(this.more, this.kept.cursor ? button("Show older ones", () => this.next(), { class: "quiet" }) : null);
    this.drawChosen();
  }

  row(task) {
    const usage = task.tokenUsage;
    const tokens = usage.inputTokens + usage.cacheReadTokens + usage.cacheWriteTokens + usage.outputTokens;
    return h("tr", {},
      h("td", { class: "status" }, this.box(task), badge(task)),
      h("td", { class: "task" }, h("a", { href: `#/tasks/${task.id}`, dir: "auto", title: task.title }, titleOf(task)), task.preparing ? h("p", { class: "muted" }, task.preparing) : null),
      h("td", { class: "agent", dir: "auto" }, task.agentName),
      h("td", { class: "tokens number" }, count(tokens)),
      h("td", { class: "cost number", title: "Container and model" }, cost(task)),
      h("td", { class: "time number" }),
      h("td", { class: "age number", title: moment(task.createdAt) }));
  }

  box(task) {
    if (isOver(task)) return h("span", { class: "no-box" });
    const box = h("input", { type: "checkbox", "aria-label": `Select ${task.title}`, checked: this.selected.has(task.id) });
    box.addEventListener("change", () => {
      this.selected[box.checked ? "add" : "delete"](task.id);
      this.drawChosen();
    });
    return box;
  }

  selectAll(all) {
    this.selected = new Set(all ? this.open.map((task) => task.id) : []);
    for (const box of this.rows.querySelectorAll("input")) box.checked = all;
    this.drawChosen();
  }

  drawChosen() {
    const some = this.selected.size;
    this.table.classList.toggle("choosing", this.open.length > 0);
    this.all.hidden = !this.open.length;
    this.all.checked = some > 0 && some === this.open.length;
    this.all.indeterminate = some > 0 && some < this.open.length;
    this.chosen.hidden = !some;
    if (this.said === some) return;
    this.said = some;
    fill(this.chosen, h("span", {}, `${some} selected`), button(some === 1 ? "Cancel the task" : `Cancel ${some} tasks`, () => this.cancel(), { class: "danger" }),
      button("Select none", () => this.selectAll(false), { class: "quiet" }));
  }

  async cancel() {
    const ids = [...this.selected];
    const these = ids.length === 1 ? "this task" : `these ${ids.length} tasks`;
    const done = await ask(`Cancel ${these}?`, h("p", {}, "Their containers stop. Files that they have not handed over are lost."), "Cancel them", async () => {
      const failed = await each(ids, (id) => api.post(`/tasks/${id}/cancel`));
      await this.refresh();
      if (failed.length) throw new Error(`${failed.length} of ${ids.length} could not be cancelled: ${failed[0].message}`);
    }, "danger");
    if (done) this.selectAll(false);
  }
}

// A few at once; answers what went wrong.
async function each(ids, act) {
  const waiting = [...ids];
  const failed = [];
  const some = async () => {
    for (let id = waiting.shift(); id; id = waiting.shift()) await act(id).catch((error) => failed.push(error));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, some));
  return failed;
}

function tick(element, task) {
  const time = task.startedAt ? duration(Math.round(task.containerMinutes * 60) * 1000) : "–";
  for (const [name, text] of [[".time", time], [".age", age(task.createdAt)]]) {
    const cell = element.querySelector(name);
    if (cell.textContent !== text) cell.textContent = text;
  }
}

export const incomplete = (task) => task.status === "finished" && task.metadata.completion === "incomplete";

export const badge = (task) => h("span", { class: `badge ${incomplete(task) ? "incomplete" : task.status}`, title: task.status }, incomplete(task) ? "Incomplete" : STATUS[task.status],
  task.queuePosition ? ` (${task.queuePosition})` : null);

function nothing({ search, status, agent }) {
  if (!search && !status && !agent) return empty();
  const what = status && !search && !agent ? `No task has the status “${STATUS[status]}”` : "No task matches";
  return h("div", { class: "empty" }, h("h2", {}, what), h("p", {}, h("a", { href: "#/tasks" }, "Show all tasks")));
}

const empty = () => h("div", { class: "empty" }, h("h2", {}, "No tasks yet"),
  h("p", {}, "Tell an agent what to do, give it the files that it needs, and get files back."),
  h("p", {}, h("a", { class: "button primary", href: "#/new" }, "Dispatch the first task")),
  h("p", { class: "muted" }, "Without a model provider's key, the model ", h("code", {}, "scripted"),
    " does what fenced blocks say. A key is set under ", h("a", { href: "#/account" }, "Account"), "."));

export const isOver = (task) => ENDED.has(task.status);
