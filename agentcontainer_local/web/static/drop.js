// Files to send along: dropped or chosen; each is uploaded at once, and its progress is shown.

import * as api from "./api.js";
import { h } from "./dom.js";
import { bytes, plain } from "./words.js";

export class Drop {
  // `kept`: files that were uploaded before, as {id, filename, sizeBytes}.
  constructor(label = "choose files", kept = []) {
    this.input = h("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-label": "Files" });
    this.list = h("ul", { class: "uploads" });
    const choose = h("button", { type: "button", class: "link", on: { click: () => this.input.click() } }, label);
    this.element = h("div", { class: "drop" },
      h("div", { class: "drop-words" }, label === "choose files" ? ["Drop files here, or ", choose] : [choose, h("span", { class: "hint" }, " or drop them here")], this.input), this.list);
    this.sending = [];
    this.changed = () => {};
    kept.forEach((file) => this.add(plain(file.filename), file.sizeBytes, (one) => this.settled(one, Promise.resolve(file))));
    this.input.addEventListener("change", () => {
      this.take(this.input.files);
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
      this.take(event.dataTransfer.files);
    });
  }

  take(files) {
    for (const file of files) this.add(plain(file.name), file.size, (one) => this.send(one, file));
  }

  add(name, size, begin) {
    const one = { name, stop: new AbortController(), note: h("span", { class: "muted", role: "status" }, bytes(size)) };
    const remove = () => {
      one.stop.abort();
      one.element.remove();
      this.sending = this.sending.filter((other) => other !== one);
      this.changed();
      this.element.querySelector("button").focus();
    };
    one.element = h("li", {}, h("span", { class: "upload-name", dir: "auto" }, name), one.note,
      h("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}`, on: { click: remove } }, "Remove"));
    this.sending.push(one);
    this.list.append(one.element);
    begin(one);
  }

  send(one, file) {
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${one.name}` });
    one.element.querySelector(".again")?.remove();
    one.note.className = "muted";
    one.note.textContent = bytes(file.size);
    one.note.after(bar);
    this.settled(one, api.upload(file, (part) => { bar.value = part; }, one.stop.signal).finally(() => bar.remove()), () => {
      one.note.after(h("button", { type: "button", class: "quiet again", "aria-label": `Try ${one.name} again`, on: { click: () => this.send(one, file) } }, "Try again"));
    });
  }

  settled(one, uploading, failed = () => {}) {
    one.done = uploading.then((stored) => {
      one.file = stored;
      this.changed();
      return stored.id;
    });
    one.done.catch((error) => {
      if (error.name === "AbortError") return;
      one.failed = true;
      one.note.className = "fault";
      one.note.textContent = error.message;
      failed();
    });
  }

  // The ids of all, once they are there; raises which one is not, for what went wrong stands beside it.
  ids() {
    return Promise.all(this.sending.map((one) => one.done.catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error(`${one.name} is not uploaded. Try it again, or remove it.`);
    })));
  }

  // Those that are there.
  stored() {
    return this.sending.filter((one) => one.file).map(({ file: { id, filename, sizeBytes } }) => ({ id, filename, sizeBytes }));
  }

  clear() {
    this.sending = [];
    this.list.replaceChildren();
  }
}
