// The next message of a conversation.

import * as api from "./api.js";
import { h, unique, work } from "./dom.js";
import { Drop } from "./drop.js";
import { draft } from "./store.js";
import { isOver } from "./tasks.js";

export class Composer {
  // `sent` is called when a message has been taken.
  constructor(id, sent) {
    Object.assign(this, { id, sent, draft: `message.${id}` });
    this.text = h("textarea", { rows: 2, id: unique("message"), dir: "auto", placeholder: "Write a message" }, draft.read(this.draft) ?? "");
    this.drop = new Drop("Attach files");
    this.go = h("button", { type: "submit", class: "primary" }, "Send");
    this.element = h("form", { class: "composer", "aria-label": "Send a message", hidden: true },
      h("label", { for: this.text.id, class: "unseen" }, "Message"), this.text, this.drop.element,
      h("div", { class: "actions" }, h("span", { class: "hint" }, "Ctrl+Enter sends"), this.go));
    this.once = api.intent();
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      work(this.go, () => this.send());
    });
    this.text.addEventListener("input", () => draft.write(this.draft, this.text.value));
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
  }

  show(task) {
    this.element.hidden = task.mode !== "conversation" || isOver(task);
    this.go.textContent = task.status === "awaiting_input" ? "Send" : "Send, to be taken next";
  }

  async send() {
    const content = this.text.value.trim();
    if (!content) return this.text.focus();
    const files = await this.drop.ids();
    await api.post(`/conversations/${this.id}/messages`, { content, inputFileIds: files }, this.once);
    this.once = api.intent();
    this.text.value = "";
    draft.remove(this.draft);
    this.drop.clear();
    this.sent();
    return this.text.focus();
  }
}
