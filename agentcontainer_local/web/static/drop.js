// Files to send along: dropped or chosen; each is uploaded at once, and its progress is shown.

import * as api from "./api.js";
import { h } from "./dom.js";
import { bytes, plain } from "./words.js";

export class Drop {
  constructor() {
    this.input = h("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-label": "Files" });
    this.list = h("ul", { class: "uploads" });
    this.element = h("div", { class: "drop" },
      h("div", { class: "drop-words" }, "Drop files here, or ",
        h("button", { type: "button", class: "link", on: { click: () => this.input.click() } }, "choose files"), this.input), this.list);
    this.sending = [];
    this.input.addEventListener("change", () => {
      this.add(this.input.files);
      this.input.value = "";
    });
    const over = (on) => (event) => {
      event.preventDefault();
      this.element.classList.toggle("over", on);
    };
    this.element.addEventListener("dragover", over(true));
    this.element.addEventListener("dragleave", over(false));
    this.element.addEventListener("drop", (event) => {
      over(false)(event);
      this.add(event.dataTransfer.files);
    });
  }

  add(files) {
    for (const file of files) this.start(file);
  }

  start(file) {
    const name = plain(file.name);
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
    const note = h("span", { class: "muted" }, bytes(file.size));
    const stop = new AbortController();
    const one = { stop };
    const remove = h("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}`, on: { click: () => {
      stop.abort();
      this.sending = this.sending.filter((other) => other !== one);
      one.element.remove();
      this.element.querySelector("button").focus();
    } } }, "Remove");
    one.element = h("li", {}, h("span", { class: "upload-name" }, name), note, bar, remove);
    one.done = api.upload(file, (part) => { bar.value = part; }, stop.signal).then((stored) => {
      bar.remove();
      return stored.id;
    });
    one.done.catch((error) => {
      bar.remove();
      note.className = "fault";
      note.textContent = error.message;
    });
    this.sending.push(one);
    this.list.append(one.element);
  }

  // The ids of all, once they are there; raises what went wrong with one.
  ids() {
    return Promise.all(this.sending.map((one) => one.done));
  }

  clear() {
    this.sending = [];
    this.list.replaceChildren();
  }
}
