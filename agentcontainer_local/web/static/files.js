// Files that a task handed over: looked up by name, and shown as links or as pictures in Markdown.

import * as api from "./api.js";
import { h } from "./dom.js";
import { plain } from "./words.js";

const IMAGES = {
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", avif: "image/avif",
  bmp: "image/bmp", svg: "image/svg+xml",
};
const MOST_IMAGE = 32 * 1024 ** 2;

export const ending = (file) => file.filename.toLowerCase().split(".").pop();
export const isImage = (file) => ending(file) in IMAGES;

// The address of a picture's bytes, for this page alone.
export async function imageUrl(file, path) {
  if (file.sizeBytes > MOST_IMAGE) throw new Error("The image is too large to be shown. Download it.");
  return URL.createObjectURL(await api.bytes(path, null, IMAGES[ending(file)]));
}

export async function image(url, alt) {
  const element = h("img", { src: url, alt });
  await element.decode().catch(() => { throw new Error("This image can't be shown. Download it to see what it is."); });
  return element;
}

export class Files {
  // `pathOf` answers where the API has a file's bytes, `open` shows one.
  constructor(pathOf, open, signal) {
    Object.assign(this, { pathOf, open, all: [], urls: new Map() });
    signal.addEventListener("abort", () => this.urls.forEach((url) => url.then((known) => URL.revokeObjectURL(known), () => {})));
  }

  // As Markdown names it: `chart.png`, `./out/chart.png`, `my%20chart.png`.
  find(name) {
    if (!name || /^[a-z][a-z+.-]*:|^#/i.test(name)) return null;
    let words = name;
    try { words = decodeURIComponent(name); } catch { /* as it is */ }
    const wanted = words.split(/[?#]/)[0].split("/").pop();
    return this.all.findLast((file) => file.filename === words || file.filename.split("/").pop() === wanted) ?? null;
  }

  picture(file, alt) {
    const place = h("span", { class: "picture muted" }, alt || plain(file.filename));
    if (!isImage(file)) return h("button", { type: "button", class: "link", on: { click: () => this.open(file) } }, alt || plain(file.filename));
    if (!this.urls.has(file.id)) this.urls.set(file.id, imageUrl(file, this.pathOf(file)));
    this.urls.get(file.id).then((url) => image(url, alt || plain(file.filename)))
      .then((element) => { place.className = "picture"; place.replaceChildren(element); }, (error) => { place.title = error.message; });
    return place;
  }
}
