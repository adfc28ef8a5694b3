// Tokens and money of a task as a small chart: one bar a turn in a conversation, else one a model.

import { h, svg } from "./dom.js";
import { count, money } from "./words.js";

const KINDS = [
  ["inputTokens", "Input", "input"], ["cacheReadTokens", "Cache read", "cache-read"],
  ["cacheWriteTokens", "Cache write", "cache-write"], ["outputTokens", "Output", "output"],
];
const WIDTH = 260;
const ROW = 22;

export function usage(task, messages = []) {
  const used = task.tokenUsage;
  if (!used.calls) return h("p", { class: "muted" }, "No model was called yet.");
  const turns = messages.filter((message) => message.tokenUsage?.calls).map((message) => [`Turn ${message.turnNumber}`, message.tokenUsage]);
  const models = Object.entries(used.byModel);
  const shown = turns.length > 1 ? turns.slice(-12) : models.length ? models : [["All", used]];
  return h("div", { class: "usage" },
    chart(shown),
    h("table", { class: "facts" }, h("tbody", {},
      KINDS.filter(([field]) => used[field] || field === "inputTokens" || field === "outputTokens").map(([field, name, kind]) => row([h("span", { class: `swatch ${kind}` }), name], count(used[field]))),
      row("Model calls", count(used.calls)),
      row("Model cost", money(used.costUsd)),
      row("Container cost", money(task.costUsd)),
      row(h("strong", {}, "Total"), h("strong", {}, cost(task))))));
}

export const cost = (task) => task.tokenUsage.costUsd === null
  ? `${money(task.costUsd)} + model` : money(task.costUsd + task.tokenUsage.costUsd);

const row = (name, value) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value));

const total = (used) => KINDS.reduce((sum, [field]) => sum + used[field], 0);

function chart(bars) {
  const most = Math.max(1, ...bars.map(([, used]) => total(used)));
  const said = bars.map(([name, used]) => `${name}: ${count(total(used))} tokens, ${money(used.costUsd)}`);
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${bars.length * 2 * ROW}`, role: "img", "aria-label": `Tokens. ${said.join("; ")}` },
    bars.map(([name, used], at) => bar(name, used, at * 2 * ROW, most)));
}

function bar(name, used, y, most) {
  let x = 0;
  const parts = KINDS.map(([field, , kind]) => {
    const width = used[field] / most * WIDTH;
    const part = svg("rect", { class: kind, x: x.toFixed(1), y: y + ROW - 2, width: width.toFixed(1), height: 10 });
    x += width;
    return part;
  });
  return [
    svg("text", { class: "chart-name", x: 0, y: y + ROW - 9 }, name.length > 22 ? `${name.slice(0, 21)}…` : name),
    svg("text", { class: "chart-figure", x: WIDTH, y: y + ROW - 9, "text-anchor": "end" }, `${count(total(used))} · ${money(used.costUsd)}`),
    svg("rect", { class: "chart-ground", x: 0, y: y + ROW - 2, width: WIDTH, height: 10 }), parts,
  ];
}
