// CSV and its kin as a table.

import { h } from "./dom.js";

const MOST_ROWS = 500;
const MOST_COLUMNS = 60;

const separator = (text) => {
  const line = text.split("\n", 1)[0];
  return [",", ";", "\t"].map((mark) => [line.split(mark).length, mark]).sort((a, b) => b[0] - a[0])[0][1];
};

// RFC 4180: a quoted cell may hold separators, line ends and doubled quotes.
export function rows(text, mark = ",", most = Infinity) {
  const found = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && found.length < most; at += 1) {
    const c = text[at];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[at + 1] === '"') cell += text[at += 1];
      else quoted = false;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === mark) cell = (row.push(cell), "");
    else if (c === "\n") {
      row.push(cell.replace(/\r$/, ""));
      found.push(row);
      row = [];
      cell = "";
    } else cell += c;
  }
  if ((cell || row.length) && found.length < most) found.push([...row, cell]);
  return found;
}

// `mark` null: whichever separates the most in the first line.
export function table(text, mark) {
  const [head = [], ...body] = rows(text, mark ?? separator(text), MOST_ROWS + 2);
  const columns = Math.min(MOST_COLUMNS, Math.max(head.length, ...body.map((row) => row.length)));
  const cells = (row, kind) => Array.from({ length: columns }, (_, at) => h(kind, kind === "th" ? { scope: "col", dir: "auto" } : { class: number(row[at]) ? "number" : null, dir: "auto" }, row[at] ?? ""));
  return [
    body.length > MOST_ROWS ? h("p", { class: "muted" }, `The first ${MOST_ROWS} rows.`) : null,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", { class: "data" },
      h("thead", {}, h("tr", {}, cells(head, "th"))),
      h("tbody", {}, body.slice(0, MOST_ROWS).map((row) => h("tr", {}, cells(row, "td")))))),
  ];
}

const number = (cell) => cell !== undefined && cell.trim() !== "" && Number.isFinite(Number(cell));
