// Tokens and money of a task: over time, and in sum.

import { h } from "./dom.js";
import { chart, KINDS, showCalls, total } from "./calls.js";
import { count, money, plain } from "./words.js";

// `calls`: those that are over, oldest first.
export function usage(task, calls) {
  const used = task.tokenUsage;
  if (!used.calls) return h("p", { class: "muted" }, "No model was called yet.");
  const models = Object.entries(used.byModel);
  return h("div", { class: "usage" },
    calls.length ? chart(calls) : null,
    h("table", { class: "facts" }, h("tbody", {},
      KINDS.filter(([field]) => used[field] || field === "inputTokens" || field === "outputTokens").map(([field, name, kind]) => row([h("span", { class: `swatch ${kind}` }), name], count(used[field]))),
      row(h("button", { type: "button", class: "link", on: { click: () => showCalls(calls) } }, "Model calls"), count(used.calls)),
      models.length > 1 ? models.map(([model, one]) => row(plain(model), `${count(total(one))} · ${money(one.costUsd)}`)) : null,
      row("Model cost", `${used.estimatedCalls ? "≈ " : ""}${money(used.costUsd)}`),
      row("Container cost", money(task.costUsd)),
      row(h("strong", {}, "Total"), h("strong", {}, cost(task))),
      budget(task.budget))));
}

// What counts against limits of its own.
const budget = (own) => own === null ? null : [
  own.maxCostUsd === null ? null : row("Of its budget", `${money(own.usedCostUsd)} of ${money(own.maxCostUsd)}`),
  own.maxTokens === null ? null : row("Of its tokens", `${count(own.usedTokens)} of ${count(own.maxTokens)}`),
];

export const cost = (task) => task.tokenUsage.costUsd === null
  ? `${money(task.costUsd)} + model` : money(task.costUsd + task.tokenUsage.costUsd);

const row = (name, value) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value));
