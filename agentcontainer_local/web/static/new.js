// Dispatching a task, or beginning a conversation.

import * as api from "./api.js";
import { button, choice, field, fill, h, work } from "./dom.js";
import { Drop } from "./drop.js";
import { Execution } from "./execution.js";
import { Models } from "./models.js";
import { draft } from "./store.js";

const AGENTS = "The agent's setting";
const CODING = "agt_standard_coding";
const TALK = "You talk with a person on a web page. Answer each message; do what it asks for with your tools, and attach the files that it asks for.";
const KINDS = [["autonomous", "A task", "The agent works alone until it is done."], ["conversation", "A conversation", "The agent answers each message."]];

export async function dispatch(main, { query, signal }) {
  const from = query.get("from");
  const [agents, before, said, models] = await Promise.all([
    api.all("/agents"), from ? api.get(`/tasks/${from}`, {}, signal) : null,
    from ? api.get(`/tasks/${from}/messages`, { order: "asc", limit: 1 }, signal) : null, Models.looked(signal),
  ]);
  if (signal.aborted) return;
  const name = from ? `again.${from}` : "new";
  const form = new Form(agents.filter((agent) => !agent.archivedAt), models, begun(before, said?.data[0], query, name), name);
  fill(main, h("div", { class: "head" }, h("h1", {}, before ? "Run again" : "New task"), form.drafted), form.element);
  form.text.focus();
}

// What the form begins with: the draft of this tab, else the task before, else little.
function begun(before, first, query, name) {
  const talk = before?.mode === "conversation";
  const asked = query.get("agent");
  const kept = draft.read(name);
  if (kept) return { ...kept, agentId: asked ?? kept.agentId, rest: before?.overrides ?? {}, drafted: true };
  return {
    agentId: asked ?? before?.agentId, mode: before?.mode ?? "autonomous", title: "", overrides: before?.overrides ?? {},
    rest: before?.overrides ?? {}, text: (talk ? first?.content : before?.instructions) ?? "",
    instructions: talk ? before.instructions : "", files: first?.files ?? [],
  };
}

class Form {
  constructor(agents, models, given, name) {
    Object.assign(this, { agents, models, name, once: api.intent() });
    const standard = agents.find((agent) => agent.id === CODING) ?? agents[0];
    this.agent = choice(agents.map((agent) => [agent.id, agent.name]), agents.some((one) => one.id === given.agentId) ? given.agentId : standard?.id);
    this.text = h("textarea", { rows: 10, required: true, spellcheck: "true", dir: "auto" }, given.text);
    this.instructions = h("textarea", { rows: 4, dir: "auto", placeholder: TALK }, given.instructions);
    this.mode = KINDS.map(([value, label, hint]) => [value, h("input", { type: "radio", name: "mode", value, id: `mode-${value}`, checked: value === given.mode }), label, hint]);
    this.drop = new Drop("choose files", given.files);
    this.title = h("input", { maxlength: 200, dir: "auto", value: given.title });
    this.execution = new Execution(given.overrides, { model: null, provider: AGENTS, internet: AGENTS, policy: AGENTS, key: "The earlier task had its own key. Enter it again." });
    // What the form does not ask for is taken over from the task before.
    const asked = ["hasProviderApiKey", ...Object.keys(this.execution.values())];
    this.rest = Object.fromEntries(Object.entries(given.rest).filter(([one]) => !asked.includes(one)));
    this.fault = h("p", { class: "fault", role: "alert" });
    this.go = h("button", { type: "submit", class: "primary" }, "Dispatch");
    this.drafted = given.drafted ? button("Discard this draft", () => this.forget()) : null;
    this.element = this.drawn(Object.keys(given.overrides).length > 0);
    this.listen();
    this.hint();
  }

  drawn(open) {
    const fieldset = (legend, ...content) => h("fieldset", {}, h("legend", {}, legend), content);
    const { model, ...others } = this.execution.fields;
    this.textField = field("Instructions", this.text);
    this.instructionsField = field("Instructions", this.instructions, "They apply to the whole conversation.");
    return h("form", { class: "dispatch" },
      h("div", { class: "column" },
        fieldset("Kind", h("div", { class: "radios" }, this.mode.map(([, radio, label, hint]) => h("div", { class: "check" }, radio, h("label", { for: radio.id }, label, h("span", { class: "hint" }, ` ${hint}`)))))),
        h("div", { class: "pairs two" }, field("Agent", this.agent), h("div", {}, model, this.models.element)),
        this.textField,
        fieldset("Files", this.drop.element),
        this.fault,
        h("div", { class: "actions start" }, this.go, h("span", { class: "hint" }, "Ctrl+Enter dispatches"))),
      h("details", { class: "column more", open: open || matchMedia("(min-width: 901px)").matches },
        h("summary", {}, "Options of this task"),
        this.instructionsField,
        field("Title", this.title, "By default the first line."),
        Object.values(others),
        Object.keys(this.rest).length ? h("p", { class: "hint" }, `Copied: ${Object.keys(this.rest).join(", ")}`) : null));
  }

  listen() {
    const changed = () => {
      this.once = api.intent();
      this.keep();
    };
    this.drop.changed = changed;
    this.models.chosen = (model) => {
      this.execution.model.value = model;
      changed();
      this.hint();
    };
    this.models.changed = () => this.hint();
    this.element.addEventListener("input", changed);
    this.element.addEventListener("change", () => this.hint());
    this.execution.model.addEventListener("input", () => this.hint());
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      work(this.go, () => this.send().catch((error) => fill(this.fault, error.message)));
    });
  }

  kind() {
    return this.mode.find(([, radio]) => radio.checked)[0];
  }

  hint() {
    const talk = this.kind() === "conversation";
    const defaults = this.agents.find((agent) => agent.id === this.agent.value)?.currentVersion.defaults;
    this.execution.hint(defaults);
    this.models.show(defaults, this.execution.values());
    this.textField.querySelector("label").textContent = talk ? "First message" : "Instructions";
    this.text.placeholder = talk ? "What you want to say or ask" : "What is to be done, with what, and what you want back";
    this.text.rows = talk ? 4 : 10;
    this.instructionsField.hidden = !talk;
  }

  // For this tab, until it is dispatched; but not a key.
  keep() {
    const { providerApiKey, ...overrides } = this.execution.values();
    draft.write(this.name, {
      agentId: this.agent.value, mode: this.kind(), text: this.text.value, instructions: this.instructions.value,
      title: this.title.value, overrides: given(overrides), files: this.drop.stored(),
    });
  }

  forget() {
    draft.remove(this.name);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }

  async send() {
    fill(this.fault);
    const inputFileIds = await this.drop.ids();
    const body = given({ title: this.title.value.trim(), inputFileIds, overrides: given({ ...this.rest, ...this.execution.values() }) });
    const path = `/agents/${this.agent.value}`;
    const made = this.kind() === "conversation"
      ? (await api.post(`${path}/conversations`, { ...body, instructions: this.instructions.value.trim() || TALK, message: this.text.value }, this.once)).task
      : await api.post(`${path}/tasks`, { ...body, instructions: this.text.value }, this.once);
    draft.remove(this.name);
    location.hash = `#/tasks/${made.id}`;
  }
}

// What was filled in.
const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "" && value !== null));
