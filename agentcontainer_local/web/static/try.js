// One call of the API by hand, with the key of who is signed in. The reference (/docs) links here with what it is about.

import * as session from "./session.js";
import { button, field, fill, h, work } from "./dom.js";
import { pretty } from "./pretty.js";
import { bytes } from "./words.js";

const BASE = "/api/v1";
const MOST = 262_144;
const HARMLESS = "GET";

export async function tryIt(main, { query, entitle }) {
  entitle(query.get("name") ?? "Try it");
  const form = new Form(query);
  fill(main, h("div", { class: "head" }, h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "docs" }, "API reference"), " / Try it"),
    h("h1", {}, query.get("name") ?? "Try it"))), form.element);
}

class Form {
  constructor(query) {
    this.verb = (query.get("verb") ?? HARMLESS).toUpperCase();
    this.path = query.get("path") ?? `${BASE}/account`;
    this.places = [...this.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, h("input", { required: true, spellcheck: "false" })]);
    this.asked = (query.get("query") ?? "").split(",").filter(Boolean).map((name) => [name, h("input", { spellcheck: "false" })]);
    this.body = query.has("body") ? h("textarea", { rows: 10, class: "code", spellcheck: "false" }, query.get("body")) : null;
    this.answer = h("div", { "aria-live": "polite" });
    this.go = h("button", { type: "submit", class: this.verb === "DELETE" ? "danger" : "primary" }, "Send");
    const inputs = (some) => some.map(([name, input]) => field(name, input));
    this.element = h("form", { class: "trying" },
      h("p", {}, h("strong", { class: "verb" }, this.verb), " ", h("code", {}, this.path)),
      h("div", { class: "pairs" }, inputs(this.places), inputs(this.asked)),
      this.body ? field("Body (JSON)", this.body) : null,
      h("p", { class: "hint" }, this.verb === HARMLESS ? "It is sent with your key." : "It is sent with your key, and is carried out."),
      h("div", { class: "actions start" }, this.go), this.answer);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      work(this.go, () => this.send());
    });
  }

  address() {
    const path = this.places.reduce((done, [name, input]) => done.replace(`{${name}}`, encodeURIComponent(input.value.trim())), this.path);
    const asked = this.asked.map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value);
    return path.replace(/^\//, "") + (asked.length ? `?${new URLSearchParams(asked)}` : "");
  }

  async send() {
    const began = performance.now();
    const headers = { authorization: `Bearer ${session.key()}`, ...(this.body ? { "content-type": "application/json" } : {}) };
    const stop = new AbortController();
    fill(this.answer, h("p", { class: "muted" }, "Waiting for the answer… ", button("Stop", () => stop.abort())));
    try {
      const response = await fetch(this.address(), { method: this.verb, headers, body: this.body?.value, signal: stop.signal, credentials: "omit", cache: "no-store" });
      const text = await beginning(response);
      this.show(response, text, Math.round(performance.now() - began));
    } catch (error) {
      fill(this.answer, h("p", { class: "fault" }, error.name === "AbortError" ? "Stopped." : "The server does not answer."));
    }
  }

  show(response, text, ms) {
    const type = response.headers.get("content-type") ?? "";
    const shown = type.includes("json") ? pretty(text) ?? text : text;
    fill(this.answer, h("h2", { class: response.ok ? "verdict good" : "verdict bad" }, `${response.status} ${response.statusText}`.trim()),
      h("p", { class: "muted" }, `${type || "no content"}, ${bytes(text.length)}, ${ms} ms`),
      text ? h("pre", { tabindex: "0", "aria-label": "Answer" }, shown) : null);
  }
}

// As text; of a long answer or a stream without an end, the beginning.
async function beginning(response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (reader && text.length < MOST) {
    const { done, value } = await Promise.race([reader.read(), new Promise((resolve) => setTimeout(resolve, 3000, { done: true }))]);
    if (done) break;
    text += value;
  }
  await reader?.cancel();
  return text.slice(0, MOST);
}
