// Dispatching a task, or beginning a conversation.

import * as api from "./api.js";
import { choice, field, fill, h, work } from "./dom.js";
import { Drop } from "./drop.js";

const POLICIES = [["", "As the agent says"], ["any", "Any files, or none"], ["none", "No files"], ["at_least_one", "At least one file"], ["named", "Named files"]];
const INTERNET = [["", "As the agent says"], ["true", "Yes"], ["false", "No"]];
const PROVIDERS = [["", "As the agent says"], ["anthropic"], ["openai"], ["openrouter"]];

// What the form asks for; the rest of what the task before was given is taken over.
const ASKED = ["model", "weakModel", "provider", "hasProviderApiKey", "internetAccess", "allowedHosts", "maxRuntimeSeconds",
  "softFinishAfterSeconds", "maxCostUsd", "maxTokens", "outputPolicy"];

export async function dispatch(main, { query, signal }) {
  const from = query.get("from");
  const [agents, before, said] = await Promise.all([
    api.all("/agents"), from ? api.get(`/tasks/${from}`, {}, signal) : null,
    from ? api.get(`/tasks/${from}/messages`, { order: "asc", limit: 1 }, signal) : null,
  ]);
  const open = agents.filter((agent) => !agent.archivedAt);
  const form = new Form(open, before, said?.data[0]?.files ?? [], query.get("agent") ?? before?.agentId);
  fill(main, h("div", { class: "head" }, h("h1", {}, before ? "Run again" : "New task")), form.element);
  form.instructions.focus();
}

class Form {
  constructor(agents, before, files, agentId) {
    this.files = files;
    const over = before?.overrides ?? {};
    this.once = api.intent();
    this.agents = agents;
    this.agent = choice(agents.map((agent) => [agent.id, agent.name]), agentId ?? agents[0]?.id);
    this.instructions = h("textarea", { rows: 12, required: true, spellcheck: "true", placeholder: "What is to be done, with what, and what you want back" }, before?.instructions ?? "");
    this.message = h("textarea", { rows: 3 });
    this.mode = [["autonomous", "A task", "It works by itself until it is done."], ["conversation", "A conversation", "It answers message by message."]]
      .map(([value, label, hint]) => [value, h("input", { type: "radio", name: "mode", value, id: `mode-${value}`, checked: value === (before?.mode ?? "autonomous") }), label, hint]);
    this.drop = new Drop();
    this.title = h("input", { maxlength: 200 });
    this.model = h("input", { value: over.model ?? "", maxlength: 200, spellcheck: "false", autocapitalize: "off" });
    this.weakModel = h("input", { value: over.weakModel ?? "", maxlength: 200, spellcheck: "false" });
    this.provider = choice(PROVIDERS, over.provider ?? "");
    this.key = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
    this.internet = choice(INTERNET, over.internetAccess === undefined ? "" : String(over.internetAccess));
    this.hosts = h("input", { value: (over.allowedHosts ?? []).join(", "), placeholder: "example.org, *.example.org", spellcheck: "false", autocapitalize: "off" });
    this.cost = h("input", { type: "number", min: 0.000001, max: 1000000, step: "any", value: over.maxCostUsd ?? "" });
    this.tokens = h("input", { type: "number", min: 1, value: over.maxTokens ?? "" });
    this.rest = Object.fromEntries(Object.entries(over).filter(([name]) => !ASKED.includes(name)));
    this.named = over.outputPolicy?.files ?? [];
    this.hard = h("input", { type: "number", min: 1, max: 604800, value: over.maxRuntimeSeconds ?? "" });
    this.soft = h("input", { type: "number", min: 1, max: 604800, value: over.softFinishAfterSeconds ?? "" });
    this.policy = choice(POLICIES, over.outputPolicy?.mode ?? "");
    this.names = h("input", { value: this.named.map((file) => file.name).join(", "), placeholder: "report, dataset" });
    this.fault = h("p", { class: "fault", role: "alert" });
    this.go = h("button", { type: "submit", class: "primary" }, "Dispatch");
    this.element = this.drawn(before);
    this.agent.addEventListener("change", () => this.hint());
    this.policy.addEventListener("change", () => this.hint());
    this.mode.forEach(([, radio]) => radio.addEventListener("change", () => this.hint()));
    this.element.addEventListener("input", () => { this.once = api.intent(); });
    this.instructions.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      work(this.go, () => this.send().catch((error) => fill(this.fault, error.message)));
    });
    this.hint();
  }

  drawn(before) {
    const over = before?.overrides ?? {};
    const fieldset = (legend, ...content) => h("fieldset", {}, h("legend", {}, legend), content);
    this.messageField = field("First message", this.message, "What it answers first. The instructions hold for all of the conversation.");
    this.namesField = field("Names of the files", this.names, "Separated by commas.");
    return h("form", { class: "dispatch" },
      h("div", { class: "column" },
        field("Agent", this.agent),
        fieldset("Kind", h("div", { class: "radios" }, this.mode.map(([, radio, label, hint]) => h("div", { class: "check" }, radio, h("label", { for: radio.id }, label, h("span", { class: "hint" }, ` ${hint}`)))))),
        field("Instructions", this.instructions),
        this.messageField,
        fieldset("Files", this.drop.element, this.files.length ? h("p", { class: "hint" }, `Taken over: ${this.files.map((file) => file.filename).join(", ")}`) : null),
        this.fault,
        h("div", { class: "actions start" }, this.go, h("span", { class: "hint" }, "Ctrl+Enter dispatches"))),
      h("details", { class: "column more", open: Object.keys(over).length > 0 || matchMedia("(min-width: 901px)").matches },
        h("summary", {}, "Options of this task"),
        field("Title", this.title, "Else the first line of the instructions."),
        field("Model", this.model, "A provider's id, or “scripted”, which needs no key and does what fenced blocks say."),
        field("Weak model", this.weakModel), field("Provider", this.provider),
        field("Provider key", this.key, "Kept encrypted, and never shown again."),
        field("Internet access", this.internet),
        field("Hosts that it may reach", this.hosts, "Where internet access is closed; separated by commas."),
        field("Model calls cost at most (USD)", this.cost), field("Tokens at most", this.tokens),
        field("Ends after (seconds)", this.hard), field("Asked to wrap up after (seconds)", this.soft),
        field("Files that it must hand over", this.policy), this.namesField,
        Object.keys(this.rest).length ? h("p", { class: "hint" }, `Taken over: ${Object.keys(this.rest).join(", ")}`) : null));
  }

  conversation() {
    return this.mode.find(([, radio]) => radio.checked)[0] === "conversation";
  }

  hint() {
    const defaults = this.agents.find((agent) => agent.id === this.agent.value)?.currentVersion.defaults;
    this.model.placeholder = defaults?.model ?? "";
    this.hard.placeholder = defaults?.maxRuntimeSeconds ?? "";
    this.cost.placeholder = defaults?.maxCostUsd ?? "";
    this.tokens.placeholder = defaults?.maxTokens ?? "";
    this.messageField.hidden = !this.conversation();
    this.message.required = this.conversation();
    this.namesField.hidden = this.policy.value !== "named";
  }

  overrides() {
    const names = listed(this.names.value);
    const hosts = listed(this.hosts.value);
    const mode = this.policy.value;
    const known = (name) => this.named.find((file) => file.name === name) ?? { name };
    return given({
      ...this.rest, allowedHosts: hosts.length ? hosts : undefined, maxCostUsd: this.cost.value && Number(this.cost.value),
      maxTokens: this.tokens.value && Number(this.tokens.value),
      model: this.model.value.trim(), weakModel: this.weakModel.value.trim(), provider: this.provider.value,
      providerApiKey: this.key.value.trim(), internetAccess: this.internet.value && this.internet.value === "true",
      maxRuntimeSeconds: this.hard.value && Number(this.hard.value), softFinishAfterSeconds: this.soft.value && Number(this.soft.value),
      outputPolicy: mode && (mode === "named" ? { mode, files: names.map(known) } : { mode }),
    });
  }

  async send() {
    fill(this.fault);
    const inputFileIds = [...this.files.map((file) => file.id), ...await this.drop.ids()];
    const body = given({ instructions: this.instructions.value, title: this.title.value.trim(), inputFileIds, overrides: this.overrides() });
    const path = `/agents/${this.agent.value}`;
    const made = this.conversation()
      ? (await api.post(`${path}/conversations`, { ...body, message: this.message.value }, this.once)).task
      : await api.post(`${path}/tasks`, body, this.once);
    location.hash = `#/tasks/${made.id}`;
  }
}

const listed = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

// What was filled in.
const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "" && value !== undefined && value !== null));
