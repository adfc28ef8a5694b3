// A file in the page: text, a table or an image. Never as a document of its own, so nothing in it is active.

import * as api from "./api.js";
import { fill, h, unique, work } from "./dom.js";
import { markdown } from "./markdown.js";
import { bytes, plain } from "./words.js";

const IMAGES = {
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", avif: "image/avif",
  bmp: "image/bmp", svg: "image/svg+xml",
};
const MOST_TEXT = 262_144;
const MOST_IMAGE = 32 * 1024 ** 2;
const MOST_ROWS = 500;
const MOST_COLUMNS = 60;

const ending = (file) => file.filename.toLowerCase().split(".").pop();

// Shows a file in a dialog; `path` is where the API has its bytes.
export function preview(file, path) {
  const heading = unique("file");
  const content = h("div", { class: "preview", "aria-busy": "true" }, h("p", { class: "muted" }, "Loading…"));
  const dialog = h("dialog", { class: "file", "aria-labelledby": heading },
    h("header", {}, h("h2", { id: heading }, plain(file.filename)), h("span", { class: "muted" }, bytes(file.sizeBytes))),
    content,
    h("div", { class: "actions" },
      h("button", { type: "button", on: { click: () => dialog.close() } }, "Close"),
      h("button", { type: "button", class: "primary", on: { click: (event) => work(event.currentTarget, () => download(file, path)) } }, "Download")));
  const used = [];
  dialog.addEventListener("close", () => {
    used.forEach((url) => URL.revokeObjectURL(url));
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  shown(file, path, used)
    .then((element) => fill(content, element), (error) => fill(content, h("p", { class: "fault" }, error.message)))
    .finally(() => content.removeAttribute("aria-busy"));
  return dialog;
}

export async function download(file, path) {
  const url = URL.createObjectURL(await api.bytes(path));
  h("a", { href: url, download: file.filename }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function shown(file, path, used) {
  const kind = ending(file);
  if (IMAGES[kind]) return image(file, path, IMAGES[kind], used);
  const data = new Uint8Array(await (await api.bytes(path, MOST_TEXT)).arrayBuffer());
  if (!data.length) return h("p", { class: "muted" }, "The file is empty.");
  if (data.subarray(0, 8192).includes(0)) return h("p", { class: "muted" }, "This is not text. Download it to see it.");
  const text = new TextDecoder().decode(data);
  const cut = file.sizeBytes > data.length ? h("p", { class: "muted" }, `The first ${bytes(data.length)} of ${bytes(file.sizeBytes)}.`) : null;
  if (kind === "csv" || kind === "tsv") return [cut, table(text, kind === "tsv" ? "\t" : separator(text))];
  if (kind === "md" || kind === "markdown") return [cut, markdown(text)];
  return [cut, h("pre", { tabindex: "0", "aria-label": "Content" }, text)];
}

async function image(file, path, type, used) {
  if (file.sizeBytes > MOST_IMAGE) return h("p", { class: "muted" }, "The image is too large to be shown. Download it.");
  const url = URL.createObjectURL(await api.bytes(path, null, type));
  used.push(url);
  const element = h("img", { src: url, alt: plain(file.filename) });
  await element.decode().catch(() => { throw new Error("This image can't be shown. Download it to see what it is."); });
  return element;
}

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

function table(text, mark) {
  const [head = [], ...body] = rows(text, mark, MOST_ROWS + 2);
  const columns = Math.min(MOST_COLUMNS, Math.max(head.length, ...body.map((row) => row.length)));
  const cells = (row, kind) => Array.from({ length: columns }, (_, at) => h(kind, kind === "th" ? { scope: "col" } : { class: number(row[at]) ? "number" : null }, row[at] ?? ""));
  return [
    body.length > MOST_ROWS ? h("p", { class: "muted" }, `The first ${MOST_ROWS} rows.`) : null,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", { class: "data" },
      h("thead", {}, h("tr", {}, cells(head, "th"))),
      h("tbody", {}, body.slice(0, MOST_ROWS).map((row) => h("tr", {}, cells(row, "td")))))),
  ];
}

const number = (cell) => cell !== undefined && cell.trim() !== "" && Number.isFinite(Number(cell));
