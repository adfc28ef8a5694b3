// The difference of two versions: fields that changed, and long texts line by line.

import { h } from "./dom.js";

const MOST_LINES = 2000;

// [[" " | "-" | "+", line]], shortest way from one text to the other (longest common subsequence).
export function lines(before, after) {
  const a = before.split("\n").slice(0, MOST_LINES);
  const b = after.split("\n").slice(0, MOST_LINES);
  const width = b.length + 1;
  const common = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = a[i] === b[j] ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) found.push([" ", a[i]]), i += 1, j += 1;
    else if (j >= b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) found.push(["-", a[i]]), i += 1;
    else found.push(["+", b[j]]), j += 1;
  }
  return found;
}

const SAYS = { "-": "removed: ", "+": "added: ", " ": "" };

const shownLine = ([sign, line]) => h("div", { class: { "-": "removed", "+": "added", " ": "same" }[sign] },
  h("span", { class: "sign", "aria-hidden": "true" }, sign), h("span", { class: "unseen" }, SAYS[sign]), line || "\u00a0");

// Unchanged stretches are cut down to three lines around each change.
export function textDiff(before, after) {
  const all = lines(before, after);
  const near = all.map((_, at) => all.slice(Math.max(0, at - 3), at + 4).some(([sign]) => sign !== " "));
  const shown = [];
  all.forEach((line, at) => {
    if (near[at]) shown.push(shownLine(line));
    else if (at === 0 || near[at - 1]) shown.push(h("div", { class: "gap" }, "⋯"));
  });
  return h("div", { class: "diff", tabindex: "0", role: "group", "aria-label": "Line by line" }, shown);
}

// `before` and `after`: [[name, value]] of the same names. null where no field changed.
export function fieldDiff(before, after) {
  const text = (value) => value === null || value === undefined || value === "" ? "none" : typeof value === "string" ? value : JSON.stringify(value);
  const rows = before.map(([name, value], at) => [name, text(value), text(after[at][1])]).filter(([, a, b]) => a !== b);
  if (!rows.length) return null;
  return h("table", { class: "facts changes" },
    h("thead", {}, h("tr", {}, ["", "Before", "After"].map((name) => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Field"))))),
    h("tbody", {}, rows.map(([name, a, b]) => h("tr", {}, h("th", { scope: "row" }, name),
      h("td", {}, h("del", {}, a)), h("td", {}, h("ins", {}, b))))));
}
