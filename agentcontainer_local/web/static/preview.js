// A file in the page: text, a table, a picture or a PDF. Never as a document of its own, so nothing in it is active.

import * as api from "./api.js";
import { fill, h, unique, work } from "./dom.js";
import { ending, image, imageUrl, isImage } from "./files.js";
import { markdown } from "./markdown.js";
import { pretty } from "./pretty.js";
import { table } from "./table.js";
import { bytes, plain } from "./words.js";

const MOST_TEXT = 262_144;
const MOST_WHOLE = 4 * 1024 ** 2;       // of JSON, half of which has no form
const MOST_PDF = 64 * 1024 ** 2;

// Shows a file in a dialog; `path` is where the API has its bytes, `files` those beside it.
export function preview(file, path, files = null) {
  const heading = unique("file");
  const content = h("div", { class: "preview body", tabindex: "0", autofocus: true, role: "group", "aria-label": "Content", "aria-busy": "true" }, h("p", { class: "muted" }, "Loading…"));
  const dialog = h("dialog", { class: "file", "aria-labelledby": heading },
    h("header", {}, h("h2", { id: heading, dir: "auto" }, plain(file.filename)), h("span", { class: "muted" }, bytes(file.sizeBytes))),
    content,
    h("div", { class: "actions" },
      h("button", { type: "button", on: { click: () => dialog.close() } }, "Close"),
      h("button", { type: "button", class: "primary", on: { click: (event) => work(event.currentTarget, () => download(file, path)) } }, "Download")));
  const closed = new AbortController();
  dialog.addEventListener("close", () => {
    closed.abort();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  shown(file, path, files, closed.signal)
    .then((element) => fill(content, element), (error) => fill(content, h("p", { class: "fault" }, error.message)))
    .finally(() => content.removeAttribute("aria-busy"));
  return dialog;
}

export const download = async (file, path) => saved(await api.bytes(path), file.filename);

export function saved(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function shown(file, path, files, signal) {
  const kind = ending(file);
  if (isImage(file)) return picture(file, path, signal);
  if (kind === "pdf") return pdf(file, path, signal);
  const json = ["json", "jsonl", "ndjson", "geojson", "ipynb"].includes(kind);
  const data = new Uint8Array(await (await api.bytes(path, json ? MOST_WHOLE : MOST_TEXT)).arrayBuffer());
  if (!data.length) return h("p", { class: "muted" }, "The file is empty.");
  if (data.subarray(0, 8192).includes(0)) return h("p", { class: "muted" }, "This is not text. Download it to see it.");
  const text = new TextDecoder().decode(data);
  const whole = data.length >= file.sizeBytes;
  const cut = whole ? null : h("p", { class: "muted" }, `The first ${bytes(data.length)} of ${bytes(file.sizeBytes)}.`);
  if (kind === "csv" || kind === "tsv") return [cut, table(text, kind === "tsv" ? "\t" : null)];
  if (kind === "md" || kind === "markdown") return [cut, markdown(text, { files })];
  return [cut, h("pre", { dir: "auto" }, (json && whole && pretty(text)) || text)];
}

async function picture(file, path, signal) {
  const url = await imageUrl(file, path);
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  return image(url, plain(file.filename));
}

async function pdf(file, path, signal) {
  if (file.sizeBytes > MOST_PDF) return h("p", { class: "muted" }, "The PDF is too large to be shown. Download it.");
  const [{ pages }, blob] = await Promise.all([import("./pdf.js"), api.bytes(path)]);
  return pages(await blob.arrayBuffer(), plain(file.filename), signal);
}
