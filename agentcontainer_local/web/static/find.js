// Finding a place in a transcript: by words, or the first tool that failed.

import { h } from "./dom.js";
import { textOf } from "./transcript.js";

const FEW = 6;          // so many entries are seen at a glance
const MARKS = "found";

export class Find {
  constructor(transcript) {
    this.transcript = transcript;
    this.at = -1;
    this.words = h("input", { type: "search", placeholder: "Find in the transcript", "aria-label": "Find in the transcript" });
    this.count = h("span", { class: "muted count", role: "status" });
    this.failure = h("button", { type: "button", hidden: true, on: { click: () => this.go(this.failed) } }, "First failure");
    const step = (by, label, sign) => h("button", { type: "button", class: "quiet step", "aria-label": label, on: { click: () => this.next(by) } }, sign);
    this.steps = h("span", { class: "steps", hidden: true }, step(-1, "Previous match", "↑"), step(1, "Next match", "↓"));
    this.box = h("span", { class: "find-box" }, this.words, this.count, this.steps);
    this.element = h("div", { class: "find", role: "search", hidden: true }, this.box, this.failure);
    this.words.addEventListener("input", () => this.look());
    this.words.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.next(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape" && this.words.value) this.clear();
    });
  }

  // After the transcript was drawn.
  show() {
    const { items } = this.transcript;
    this.failed = items.find((item) => item.kind === "tool" && item.status === "failed");
    this.failure.hidden = !this.failed;
    this.box.hidden = items.length < FEW && !this.words.value;
    this.element.hidden = this.failure.hidden && this.box.hidden;
  }

  matches() {
    const words = this.words.value.trim().toLowerCase();
    return words ? this.transcript.items.filter((item) => textOf(item).toLowerCase().includes(words)) : [];
  }

  look() {
    this.at = -1;
    const found = this.matches().length;
    this.count.textContent = this.words.value.trim() ? (found ? `${found} found` : "Not found") : "";
    this.steps.hidden = !found;
    this.mark(null);
  }

  next(by) {
    const found = this.matches();
    if (!found.length) return;
    this.at = this.at < 0 && by < 0 ? found.length - 1 : (this.at + by + found.length) % found.length;
    this.count.textContent = `${this.at + 1} of ${found.length}`;
    this.go(found[this.at]);
  }

  clear() {
    this.words.value = "";
    this.look();
  }

  go(item) {
    const element = this.transcript.reveal(item);
    this.mark(element);
    element.scrollIntoView({ block: "center" });
  }

  // The entry is outlined, and where the browser can do it, the words in it are marked.
  mark(element) {
    this.marked?.classList.remove("found");
    this.marked = element;
    element?.classList.add("found");
    if (!CSS.highlights) return;
    const words = this.words.value.trim().toLowerCase();
    CSS.highlights.set(MARKS, new Highlight(...(element && words ? ranges(element, words) : [])));
  }
}

function ranges(element, words) {
  const found = [];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.toLowerCase();
    for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
      const range = new Range();
      range.setStart(texts.currentNode, Math.min(at, texts.currentNode.data.length));
      range.setEnd(texts.currentNode, Math.min(at + words.length, texts.currentNode.data.length));
      found.push(range);
    }
  }
  return found;
}
