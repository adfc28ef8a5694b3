// Agents: what they are told, which model thinks, where they run; and their versions.

import * as api from "./api.js";
import { ask, button, choice, field, fill, h } from "./dom.js";
import { Execution } from "./execution.js";
import { references } from "./references.js";
import { duration, money } from "./words.js";
import { versions } from "./versions.js";

export async function agents(main, { signal }) {
  const [all, containers] = await Promise.all([api.all("/agents"), api.all("/containers")]);
  if (signal.aborted) return;
  const row = (agent) => h("tr", {},
    h("td", { class: "name" }, h("a", { href: `#/agents/${agent.id}` }, agent.name), agent.isStandard ? h("span", { class: "tag" }, "standard") : null, agent.archivedAt ? h("span", { class: "tag" }, "archived") : null,
      h("p", { class: "muted", dir: "auto" }, agent.description)),
    h("td", { class: "model" }, h("code", {}, agent.currentVersion.defaults.model)), h("td", { class: "number" }, `v${agent.currentVersion.number}`));
  fill(main, h("div", { class: "head" }, h("h1", {}, "Agents"), button("New agent", () => edit(null, containers), { class: "primary" })),
    h("table", { class: "list" }, h("caption", { class: "unseen" }, "Agents"), h("thead", {}, h("tr", {}, ["Agent", "Model", "Version"].map((name) => h("th", { scope: "col", class: name.toLowerCase() }, name)))),
      h("tbody", {}, all.map(row))),
    all.some((agent) => !agent.isStandard) ? null : h("div", { class: "empty" }, h("h2", {}, "No agents of your own yet"),
      h("p", {}, "Open a standard agent and fork it, or make a new one: a prompt, a model, and a container to work in.")));
}

const policy = (value) => value.mode === "named" ? `named: ${value.files.map((file) => file.name).join(", ")}` : value.mode.replaceAll("_", " ");

const fields = (containers) => (version) => {
  const defaults = version.defaults;
  return [
    ["Model", defaults.model], ["Weak model", defaults.weakModel], ["Provider", defaults.provider ?? "account default"],
    ["Provider key", defaults.hasProviderApiKey ? "set" : "not set"], ["Internet access", defaults.internetAccess ? "yes" : "no"],
    ["Allowed hosts", defaults.allowedHosts?.join(", ")],
    ["Maximum cost of model calls", defaults.maxCostUsd ? money(defaults.maxCostUsd) : null],
    ["Maximum tokens", defaults.maxTokens?.toLocaleString()], ["Isolation", defaults.isolation],
    ["Limits", Object.entries(defaults.limits ?? {}).map(([name, value]) => `${name} ${value}`).join(", ")],
    ["Maximum run time", duration(defaults.maxRuntimeSeconds * 1000)],
    ["Wrap up after", defaults.softFinishAfterSeconds ? duration(defaults.softFinishAfterSeconds * 1000) : null],
    ["Files to hand over", policy(defaults.outputPolicy)], ["Region", defaults.runtimeRegion],
    ["Container", containers.find((one) => one.currentVersion.id === version.containerVersionId)?.name ?? version.containerVersionId], ["Image", version.runtime.containerImage],
    ["Skills", version.skills.map((one) => one.skill).join(", ")],
  ];
};

export async function agent(main, { id, signal, entitle }) {
  const [one, past, containers, files] = await Promise.all([
    api.get(`/agents/${id}`, {}, signal), api.all(`/agents/${id}/versions`), api.all("/containers"), api.all(`/agents/${id}/reference-files`),
  ]);
  entitle(one.name);
  const current = one.currentVersion;
  const reload = () => agent(main, { id, signal, entitle });
  fill(main,
    h("div", { class: "head" }, h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/agents" }, "Agents"), " / ", h("code", {}, one.id)),
      h("h1", { dir: "auto" }, one.name), h("p", { class: "under muted", dir: "auto" }, one.description)),
    h("div", { class: "actions" },
      one.archivedAt ? h("span", { class: "tag" }, "archived") : h("a", { class: "button primary", href: `#/new?agent=${one.id}` }, "New task"),
      one.isStandard ? button("Fork", () => fork(one)) : null,
      one.isStandard || one.archivedAt ? null : [button("Edit", () => edit(one, containers, reload)), button("Archive", () => archive(one, reload), { class: "danger" })])),
    h("div", { class: "columns" },
      h("div", { class: "column" }, references(one, files, reload), h("section", {}, versions(past, fields(containers), "Prompt", (version) => version.basePrompt)),
        h("section", {}, h("h2", {}, "Prompt"), h("pre", { class: "wrap", tabindex: "0", dir: "auto", "aria-label": "Prompt" }, current.basePrompt))),
      h("aside", { "aria-label": "Current version" }, h("section", {}, h("h2", {}, `Version ${current.number}`), h("table", { class: "facts" }, h("tbody", {},
        fields(containers)(current).filter(([, value]) => value).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))))))));
}

async function fork(one) {
  const name = h("input", { required: true, maxlength: 200, value: `${one.name} (copy)` });
  const once = api.intent();
  const made = await ask(`Fork ${one.name}`, field("Name", name, "A copy that you can change."), "Fork",
    () => api.post(`/agents/${one.id}/fork`, { name: name.value }, once));
  if (made) location.hash = `#/agents/${made.id}`;
}

async function archive(one, reload) {
  const done = await ask(`Archive ${one.name}?`, h("p", {}, "It takes no new tasks. Its open tasks continue."), "Archive", () => api.remove(`/agents/${one.id}`), "danger");
  if (done) await reload();
}

// Makes an agent (`one` is null), or changes it.
async function edit(one, containers, done) {
  const version = one?.currentVersion;
  const defaults = version?.defaults ?? { internetAccess: false, maxRuntimeSeconds: 3600, outputPolicy: { mode: "any" } };
  const open = containers.filter((container) => !container.archivedAt);
  const here = open.find((container) => container.currentVersion.id === version?.containerVersionId);
  const name = h("input", { required: true, maxlength: 200, value: one?.name ?? "" });
  const about = h("input", { value: one?.description ?? "" });
  const prompt = h("textarea", { rows: 8, required: true }, version?.basePrompt ?? "Follow HARNESS.md and complete the task.");
  // A provider that is set can be changed, not taken away.
  const execution = new Execution(defaults, { provider: defaults.provider ? null : "The account's default", key: "Empty: the key stays as it is." });
  const { fields } = execution;
  execution.model.required = execution.hard.required = true;
  const place = choice([...(one && !here ? [["", "As it is"]] : []), ...open.map((container) => [container.id, container.name])], here?.id ?? (one ? "" : "ctr_standard_coding"));
  const once = api.intent();
  const made = await ask(one ? `Edit ${one.name}` : "New agent", [
    field("Name", name), field("Description", about), field("Prompt", prompt),
    h("div", { class: "pairs" }, fields.model, field("Container", place), fields.internet, fields.hosts, fields.cost, fields.tokens,
      fields.hard, fields.soft, fields.policy, fields.names, fields.provider, fields.key, fields.weakModel),
  ], one ? "Save" : "Make it", () => {
    const values = execution.values();
    const body = {
      name: name.value, description: about.value, basePrompt: prompt.value,
      defaults: { ...values, allowedHosts: values.allowedHosts ?? [], providerApiKey: values.providerApiKey ?? undefined },
      ...(place.value && place.value !== here?.id ? { containerId: place.value } : {}),
    };
    return one ? api.patch(`/agents/${one.id}`, body) : api.post("/agents", body, once);
  });
  if (made && !one) location.hash = `#/agents/${made.id}`;
  else if (made) await done();
}
