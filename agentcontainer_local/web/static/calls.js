// A task's model calls over time: a bar for each with its tokens, a line for what they cost together, and a table of all.

import * as api from "./api.js";
import { h, svg, unique } from "./dom.js";
import { count, duration, moment, money, plain } from "./words.js";

export const KINDS = [
  ["inputTokens", "Input", "input"], ["cacheReadTokens", "Cache read", "cache-read"],
  ["cacheWriteTokens", "Cache write", "cache-write"], ["outputTokens", "Output", "output"],
];
const WIDTH = 1000;
const HEIGHT = 100;
const MOST_BARS = 60;
const AT_ONCE = 1000;

export const total = (used) => KINDS.reduce((sum, [field]) => sum + used[field], 0);

// Brings `known`, a map by id, up to `settled` calls that are over: asks for the newest, down to what it has already.
export async function latest(path, known, settled, signal) {
  const over = () => [...known.values()].filter((call) => call.status).length;
  let cursor;
  while (over() < settled && cursor !== null) {
    const limit = Math.min(AT_ONCE, settled - over() + 10);
    const page = await api.get(path, { limit, cursor }, signal);
    for (const call of page.data) known.set(call.id, call);
    cursor = page.pageInfo.nextCursor;
  }
  return new Map([...known].sort(([a], [b]) => a - b));
}

// Calls that are over, oldest first.
export function chart(calls) {
  const bars = gathered(calls);
  const most = Math.max(1, ...bars.map((bar) => bar.tokens));
  const spent = calls.reduce((sum, call) => sum + (call.costUsd ?? 0), 0);
  const width = Math.min(WIDTH / bars.length, WIDTH / 6);
  const [first, last] = [calls[0], calls.at(-1)];
  const each = bars[0].calls;
  const said = `${calls.length === 1 ? "1 model call" : `${calls.length} model calls`} from ${moment(first.startedAt)} to ${moment(last.endedAt ?? last.startedAt)}, `
    + `${count(calls.reduce((sum, call) => sum + total(call), 0))} tokens, at most ${count(most)} ${each === 1 ? "in one" : `in ${each} that follow each other`}${spent ? `; ${money(spent)} in all` : ""}`;
  return h("figure", { class: "calls" },
    h("div", { class: "chart-ends" }, h("span", {}, `up to ${count(most)} tokens ${each === 1 ? "a call" : "a bar"}`), spent ? h("span", {}, h("span", { class: "swatch spent" }), money(spent)) : null),
    svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said },
      bars.map((one, at) => bar(one, at * width, width, most)),
      spent ? svg("polyline", { class: "spent", points: steps(bars, width, spent) }) : null),
    h("div", { class: "chart-ends" }, calls.length > 1 ? `${clock(first.startedAt)} – ${clock(last.startedAt)}` : clock(first.startedAt)));
}

// At most MOST_BARS of them: where there are more calls, some that follow each other are one bar.
function gathered(calls) {
  const each = Math.ceil(calls.length / MOST_BARS);
  const bars = [];
  for (let at = 0; at < calls.length; at += each) {
    const some = calls.slice(at, at + each);
    const sums = Object.fromEntries(KINDS.map(([field]) => [field, some.reduce((sum, call) => sum + call[field], 0)]));
    bars.push({
      ...sums, calls: some.length, tokens: total(sums), startedAt: some[0].startedAt,
      costUsd: some.every((call) => call.costUsd === null) ? null : some.reduce((sum, call) => sum + (call.costUsd ?? 0), 0), estimated: some.some((call) => call.estimated),
    });
  }
  return bars;
}

function bar(one, x, width, most) {
  let y = HEIGHT;
  const gap = Math.min(4, width / 5);
  const parts = KINDS.map(([field, , kind]) => {
    const height = one[field] ? Math.max(1, one[field] / most * HEIGHT) : 0;
    y -= height;
    return svg("rect", { class: kind, x: x.toFixed(1), y: Math.max(0, y).toFixed(2), width: (width - gap).toFixed(1), height: height.toFixed(2) });
  });
  const words = `${clock(one.startedAt)}: ${count(one.tokens)} tokens, ${one.costUsd === null ? "unknown cost" : money(one.costUsd)}${one.estimated ? ", estimated" : ""}`;
  return svg("g", { class: one.estimated ? "estimated" : null }, svg("title", {}, words),
    svg("rect", { class: "chart-ground", x: x.toFixed(1), y: 0, width: (width - gap).toFixed(1), height: HEIGHT }), parts);
}

// What was spent until the end of each bar.
function steps(bars, width, spent) {
  let sum = 0;
  const points = [`0,${HEIGHT}`];
  bars.forEach((one, at) => {
    sum += one.costUsd ?? 0;
    points.push(`${((at + 1) * width).toFixed(1)},${(HEIGHT - 2 - sum / spent * (HEIGHT - 4)).toFixed(2)}`);
  });
  return points.join(" ");
}

const clock = (iso) => new Date(iso).toLocaleTimeString();

// All of them as a table, in a dialog.
export function showCalls(calls) {
  const heading = unique("calls");
  const head = ["Began", "Took", "Turn", "Model", ...KINDS.map(([, name]) => name), "Cost", "State"];
  const turns = calls.some((call) => call.turnNumber !== null);
  const shown = head.filter((name) => name !== "Turn" || turns);
  const dialog = h("dialog", { class: "file", "aria-labelledby": heading },
    h("header", {}, h("h2", { id: heading }, "Model calls"), h("span", { class: "muted" }, count(calls.length))),
    calls.some((call) => call.estimated) ? h("p", { class: "muted" }, "≈ means that the end of the call was not told: its figures are an estimate.") : null,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", { class: "data" },
      h("thead", {}, h("tr", {}, shown.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, calls.map((call) => line(call, turns))))),
    h("div", { class: "actions" }, h("button", { type: "button", on: { click: () => dialog.close() } }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function line(call, turns) {
  const about = call.estimated ? "≈ " : "";
  const cell = (value) => h("td", { class: "number" }, value);
  return h("tr", {},
    h("td", {}, h("time", { datetime: call.startedAt, title: moment(call.startedAt) }, clock(call.startedAt))),
    cell(call.endedAt ? duration(Date.parse(call.endedAt) - Date.parse(call.startedAt)) : "–"),
    turns ? cell(call.turnNumber ?? "–") : null, h("td", {}, plain(call.model)),
    KINDS.map(([field]) => cell(`${call[field] ? about : ""}${call[field].toLocaleString()}`)),
    cell(call.costUsd === null ? "unknown" : `${call.costUsd ? about : ""}${money(call.costUsd)}`),
    h("td", { class: call.status === "failed" ? "fault" : null }, call.status === "failed" ? `failed${call.httpStatus ? ` (${call.httpStatus})` : ""}` : "completed"));
}
