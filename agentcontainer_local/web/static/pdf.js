// The pages of a PDF as pictures, each drawn when it is scrolled to. Nothing in the PDF is active: no scripts, no forms.

import { h } from "./dom.js";
import * as pdfjs from "./vendor/pdfjs.js";
import * as worker from "./vendor/pdfjs.worker.js";

const MOST_PAGES = 200;
const WIDEST = 1000;

globalThis.pdfjsWorker = worker;        // in this thread: this page's policy lets it start no worker

export async function pages(data, name, signal) {
  const loading = pdfjs.getDocument({ data, isEvalSupported: false, useWasm: false, useSystemFonts: true, enableXfa: false });
  signal.addEventListener("abort", () => loading.destroy());
  const document = await loading.promise.catch((error) => { throw new Error(`This PDF can't be shown: ${error.message}`); });
  const first = (await document.getPage(1)).getViewport({ scale: 1 });
  const some = Math.min(document.numPages, MOST_PAGES);
  const list = h("div", { class: "pages" },
    Array.from({ length: some }, (_, at) => page(at + 1, document.numPages, name, first)),
    some < document.numPages ? h("p", { class: "muted" }, `The first ${some} of ${document.numPages} pages.`) : null);
  const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
    seen.unobserve(target);
    draw(document, target).catch(() => {});
  }), { rootMargin: "400px" });
  list.querySelectorAll("canvas").forEach((canvas) => seen.observe(canvas));
  signal.addEventListener("abort", () => seen.disconnect());
  return list;
}

const page = (number, of, name, { width, height }) =>
  h("canvas", { role: "img", "aria-label": `Page ${number} of ${of} of ${name}`, "data-page": number, width: Math.round(width), height: Math.round(height) });

async function draw(document, canvas) {
  const found = await document.getPage(Number(canvas.dataset.page));
  const width = Math.min(WIDEST, canvas.clientWidth || WIDEST) * devicePixelRatio;
  const viewport = found.getViewport({ scale: width / found.getViewport({ scale: 1 }).width });
  canvas.width = Math.round(viewport.width);
  canvas.height = Math.round(viewport.height);
  await found.render({ canvas, canvasContext: canvas.getContext("2d"), viewport }).promise;
  const { items } = await found.getTextContent();
  canvas.append(items.map((item) => item.str).join(" "));       // for those who listen
  canvas.classList.add("drawn");
}
