// Which models are at hand for a task, and whether there is a key for the one that is chosen.

import * as api from "./api.js";
import { setProvider } from "./account.js";
import { fill, h } from "./dom.js";

const RECENT = 50;      // tasks that are looked through
const MOST = 5;
const SCRIPTED = "scripted";

export class Models {
  static async looked(signal) {
    const [providers, tasks] = await Promise.all([api.all("/providers"), api.get("/tasks", { limit: RECENT }, signal)]);
    return new Models(providers, [...new Set(tasks.data.map((task) => task.execution.model))]);
  }

  constructor(providers, used) {
    Object.assign(this, { providers, used, chosen: () => {}, changed: () => {} });
    this.chips = h("div", { class: "chips", role: "group", "aria-label": "Models at hand" });
    this.key = h("p", { class: "hint key", role: "status" });
    this.element = h("div", { class: "models" }, this.chips, this.key);
  }

  // `values`: what is filled in, beside the defaults.
  show(defaults, values) {
    const now = values.model ?? defaults?.model;
    const some = [...new Set([defaults?.model, SCRIPTED, ...this.used])].filter(Boolean).slice(0, MOST);
    const chip = (model) => h("button", {
      type: "button", class: "chip", "aria-pressed": String(model === now),
      on: { click: () => this.chosen(model === defaults?.model ? "" : model) },
      title: model === SCRIPTED ? "Needs no key. Runs the fenced blocks of the instructions." : null,
    }, model);
    const sign = JSON.stringify([some, now]);
    if (this.sign !== sign) fill(this.chips, some.map(chip));
    this.sign = sign;
    this.showKey(now, defaults, values);
  }

  showKey(model, defaults, values) {
    const lacking = this.lacking(model, defaults, values);
    const said = lacking?.provider ?? "";
    if (this.said === said) return;
    this.said = said;
    fill(this.key, lacking ? [
      `No key for ${lacking.provider} is set. `,
      h("button", { type: "button", class: "link", on: { click: () => setProvider(lacking, () => this.again()) } }, "Set a key"),
      ", or choose scripted, which needs none.",
    ] : null);
  }

  // The provider that has no key and needs one.
  lacking(model, defaults, values) {
    if (!model || model === SCRIPTED || values.providerApiKey) return null;
    const name = values.provider ?? defaults?.provider;
    if (defaults?.hasProviderApiKey && (!values.provider || values.provider === defaults.provider)) return null;
    if (name) return this.providers.find((one) => one.provider === name && !one.hasApiKey) ?? null;
    if (this.providers.some((one) => one.hasApiKey)) return null;
    return this.providers.find((one) => one.isDefault) ?? this.providers[0] ?? null;
  }

  async again() {
    this.providers = await api.all("/providers");
    this.changed();
  }
}
