// Dispatching a task, or beginning a conversation.

import * as api from "./api.js";
import { choice, field, fill, h, work } from "./dom.js";
import { Drop } from "./drop.js";
import { Execution } from "./execution.js";

const AGENTS = "As the agent says";

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
    this.execution = new Execution(over, { provider: AGENTS, internet: AGENTS, policy: AGENTS, key: "The task before had one of its own: give it again." });
    // What the form does not ask for is taken over from the task before.
    const asked = ["hasProviderApiKey", ...Object.keys(this.execution.values())];
    this.rest = Object.fromEntries(Object.entries(over).filter(([name]) => !asked.includes(name)));
    this.fault = h("p", { class: "fault", role: "alert" });
    this.go = h("button", { type: "submit", class: "primary" }, "Dispatch");
    this.element = this.drawn(before);
    this.agent.addEventListener("change", () => this.hint());
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
        Object.values(this.execution.fields),
        Object.keys(this.rest).length ? h("p", { class: "hint" }, `Taken over: ${Object.keys(this.rest).join(", ")}`) : null));
  }

  conversation() {
    return this.mode.find(([, radio]) => radio.checked)[0] === "conversation";
  }

  hint() {
    this.execution.hint(this.agents.find((agent) => agent.id === this.agent.value)?.currentVersion.defaults);
    this.messageField.hidden = !this.conversation();
    this.message.required = this.conversation();
  }

  async send() {
    fill(this.fault);
    const inputFileIds = [...this.files.map((file) => file.id), ...await this.drop.ids()];
    const body = given({ instructions: this.instructions.value, title: this.title.value.trim(), inputFileIds, overrides: given({ ...this.rest, ...this.execution.values() }) });
    const path = `/agents/${this.agent.value}`;
    const made = this.conversation()
      ? (await api.post(`${path}/conversations`, { ...body, message: this.message.value }, this.once)).task
      : await api.post(`${path}/tasks`, body, this.once);
    location.hash = `#/tasks/${made.id}`;
  }
}

// What was filled in.
const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "" && value !== null));
