// Who thinks, what it may reach and use, when it ends and what it hands over: an agent says it, and a task may say otherwise.

import { choice, field, h } from "./dom.js";

const POLICIES = [["any", "Any files, or none"], ["none", "No files"], ["at_least_one", "At least one file"], ["named", "Named files"]];
const INTERNET = [["true", "Yes"], ["false", "No"]];
const PROVIDERS = [["anthropic"], ["openai"], ["openrouter"]];

export class Execution {
  // `given`: an agent's defaults or a task's overrides. `unsaid`: what a choice is called that is left to others; where
  // one has no such name, it has to be made.
  constructor(given, unsaid) {
    const text = (name, more) => h("input", { spellcheck: "false", autocapitalize: "off", ...more, value: given[name] ?? "" });
    const number = (name, more) => h("input", { type: "number", min: 1, ...more, value: given[name] ?? "" });
    const chosen = (options, none, value) => choice(none ? [["", none], ...options] : options, value ?? "");
    this.named = given.outputPolicy?.files ?? [];
    this.model = text("model", { maxlength: 200, placeholder: "claude-sonnet-4-5" });
    this.weakModel = text("weakModel", { maxlength: 200 });
    this.provider = chosen(PROVIDERS, unsaid.provider, given.provider);
    this.key = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
    this.internet = chosen(INTERNET, unsaid.internet, given.internetAccess?.toString());
    this.hosts = h("input", { spellcheck: "false", autocapitalize: "off", placeholder: "example.org, *.example.org", value: (given.allowedHosts ?? []).join(", ") });
    this.cost = number("maxCostUsd", { min: 0.000001, max: 1000000, step: "any" });
    this.tokens = number("maxTokens");
    this.hard = number("maxRuntimeSeconds", { max: 604800 });
    this.soft = number("softFinishAfterSeconds", { max: 604800 });
    this.policy = chosen(POLICIES, unsaid.policy, given.outputPolicy?.mode);
    this.names = h("input", { placeholder: "report, dataset", value: this.named.map((file) => file.name).join(", ") });
    this.fields = {
      model: field("Model", this.model, unsaid.model === null ? null : "A provider's id, or “scripted”, which needs no key and runs the fenced blocks of the instructions."),
      weakModel: field("Weak model", this.weakModel), provider: field("Provider", this.provider),
      key: field("Provider key", this.key, given.hasProviderApiKey && unsaid.key || "Stored encrypted, and never shown again."),
      internet: field("Internet access", this.internet),
      hosts: field("Allowed hosts", this.hosts, "Separated by commas. Only without internet access."),
      cost: field("Maximum cost of model calls (USD)", this.cost), tokens: field("Maximum tokens", this.tokens),
      hard: field("Maximum run time (seconds)", this.hard), soft: field("Wrap up after (seconds)", this.soft),
      policy: field("Required files", this.policy), names: field("Names of the files", this.names, "Separated by commas."),
    };
    this.internet.addEventListener("change", () => this.hide());
    this.policy.addEventListener("change", () => this.hide());
    this.hide();
  }

  // The defaults of empty fields.
  hint(defaults) {
    for (const [input, name] of [[this.model, "model"], [this.weakModel, "weakModel"], [this.hard, "maxRuntimeSeconds"],
      [this.soft, "softFinishAfterSeconds"], [this.cost, "maxCostUsd"], [this.tokens, "maxTokens"]]) input.placeholder = defaults?.[name] ?? "";
  }

  hide() {
    this.fields.hosts.hidden = this.internet.value === "true";
    this.fields.names.hidden = this.policy.value !== "named";
  }

  // By the names of the API; null where nothing is said.
  values() {
    const mode = this.policy.value;
    const known = (name) => this.named.find((file) => file.name === name) ?? { name };
    const hosts = this.fields.hosts.hidden ? [] : listed(this.hosts.value);
    return {
      model: this.model.value.trim() || null, weakModel: this.weakModel.value.trim() || null,
      provider: this.provider.value || null, providerApiKey: this.key.value.trim() || null,
      internetAccess: this.internet.value ? this.internet.value === "true" : null, allowedHosts: hosts.length ? hosts : null,
      maxCostUsd: figure(this.cost), maxTokens: figure(this.tokens),
      maxRuntimeSeconds: figure(this.hard), softFinishAfterSeconds: figure(this.soft),
      outputPolicy: mode === "named" ? { mode, files: listed(this.names.value).map(known) } : mode ? { mode } : null,
    };
  }
}

const listed = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);
const figure = (input) => input.value ? Number(input.value) : null;
