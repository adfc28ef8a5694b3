// The account: what it has, its API keys, its model providers' keys, which can be written but not read, and the doctor.

import * as api from "./api.js";
import * as session from "./session.js";
import { doctor } from "./doctor.js";
import { ask, button, choice, copy, field, fill, h } from "./dom.js";
import { age, bytes, count, money, moment } from "./words.js";

const DAY = 86_400;
const LASTS = [["", "Never"], [DAY, "After a day"], [30 * DAY, "After 30 days"], [90 * DAY, "After 90 days"], [365 * DAY, "After a year"]];

export async function account(main, { signal }, health = doctor(signal)) {
  const [who, keys, providers, budget] = await Promise.all([
    api.get("/account", {}, signal), api.all("/keys"), api.all("/providers"), api.get("/account/budget", {}, signal),
  ]);
  const reload = () => account(main, { signal }, health);
  const fact = (name, value) => value === null || value === undefined ? null : h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value));
  const storage = (one) => `${bytes(one.usedBytes)}${one.quotaBytes ? ` of ${bytes(one.quotaBytes)}` : ""}`;
  fill(main,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Account"), h("p", { class: "under muted" }, h("code", {}, who.id))),
      button("Sign out", () => { session.end(); dispatchEvent(new HashChangeEvent("hashchange")); })),
    h("section", { "aria-label": "Account" }, h("table", { class: "facts" }, h("tbody", {},
      fact("Name", who.name), fact("Email", who.email),
      fact("Billing", who.billingMode === "standard" ? "prepaid credit" : "nothing is charged"),
      fact("Credit", who.billingMode === "standard" ? money(who.creditBalance) : null),
      fact("Files", storage(who.fileStorage)), fact("Kept workspaces", storage(who.checkpointStorage))))),
    budgetOf(budget, reload), providersOf(providers, reload), keysOf(keys, reload), health);
}

function budgetOf(budget, reload) {
  const used = (spent, most) => most === null ? `${spent}, no limit` : `${spent} of ${most}`;
  const row = (name, value) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value));
  return h("section", { "aria-label": "Budget" }, h("div", { class: "head" }, h("h2", {}, "Budget"), button("Set the budget", () => limit(budget, reload))),
    h("p", { class: "muted" }, `What the model calls of all tasks have used in ${budget.month}. A call that would exceed the budget is not made.`),
    h("table", { class: "facts" }, h("tbody", {},
      row("Cost", used(money(budget.usedCostUsd), budget.maxCostUsd === null ? null : money(budget.maxCostUsd))),
      row("Tokens", used(count(budget.usedTokens), budget.maxTokens === null ? null : count(budget.maxTokens))))));
}

async function limit(budget, reload) {
  const cost = h("input", { type: "number", min: 0.000001, max: 1000000, step: "any", value: budget.maxCostUsd ?? "" });
  const tokens = h("input", { type: "number", min: 1, value: budget.maxTokens ?? "" });
  const done = await ask("Set the budget", [
    field("Cost in a month (USD)", cost, "Empty: no limit."), field("Tokens in a month", tokens, "Input and output, without cache reads."),
  ], "Save", () => api.put("/account/budget", {
    ...(cost.value ? { maxCostUsd: Number(cost.value) } : {}), ...(tokens.value ? { maxTokens: Number(tokens.value) } : {}),
  }));
  if (done) await reload();
}

function providersOf(providers, reload) {
  const row = (one) => h("tr", {},
    h("th", { scope: "row" }, one.provider, one.isDefault ? h("span", { class: "tag" }, "default") : null),
    h("td", {}, one.hasApiKey ? `set${one.source === "environment" ? " by the server's environment" : ""}` : h("span", { class: "muted" }, "not set")),
    h("td", { class: "url" }, h("code", {}, one.baseUrl)),
    h("td", { class: "actions" }, button("Set", () => setProvider(one, reload), { "aria-label": `Set ${one.provider}` }),
      one.hasApiKey && one.source === "store" ? button("Remove", () => remove(one, reload), { class: "danger", "aria-label": `Remove ${one.provider}` }) : null));
  return h("section", { "aria-label": "Model providers" }, h("h2", {}, "Model providers"),
    h("p", { class: "muted" }, "Used by tasks that have no key of their own or of their agent. Keys are stored encrypted, added to calls outside of containers, and never shown."),
    providers.some((one) => one.hasApiKey) ? null : h("p", { class: "empty-line" }, "No key is set: tasks can only use the model ", h("code", {}, "scripted"), ". Set one to let a real model think."),
    h("table", { class: "list" }, h("caption", { class: "unseen" }, "Model providers"), h("thead", {}, h("tr", {}, ["Provider", "Key", "Base URL", "Actions"].map((name) => h("th", { scope: "col", class: name === "Base URL" ? "url" : null }, name === "Actions" ? h("span", { class: "unseen" }, name) : name)))),
      h("tbody", {}, providers.map(row))));
}

export async function setProvider(one, reload) {
  const key = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  const url = h("input", { type: "url", placeholder: one.baseUrl, spellcheck: "false" });
  const byDefault = h("input", { type: "checkbox", id: "default", checked: one.isDefault });
  const done = await ask(`Set ${one.provider}`, [
    field("API key", key, one.hasApiKey ? "Empty: the key stays as it is." : null),
    field("Base URL", url, "Only for another server with this provider's API."),
    h("div", { class: "check" }, byDefault, h("label", { for: "default" }, "Default for agents without a provider")),
  ], "Save", () => api.put(`/providers/${one.provider}`, {
    ...(key.value ? { apiKey: key.value.trim() } : {}), ...(url.value ? { baseUrl: url.value.trim() } : {}), isDefault: byDefault.checked,
  }));
  if (done) await reload();
}

async function remove(one, reload) {
  if (await ask(`Remove ${one.provider}?`, h("p", {}, "Tasks that rely on this key will fail."), "Remove", () => api.remove(`/providers/${one.provider}`), "danger")) await reload();
}

function keysOf(keys, reload) {
  const row = (key) => h("tr", { class: key.revokedAt ? "gone" : null },
    h("th", { scope: "row" }, key.name), h("td", {}, h("code", {}, `…${key.hint}`)),
    h("td", {}, key.scope === "metrics" ? "only /metrics" : "everything"),
    h("td", { class: "spare", title: moment(key.createdAt) }, age(key.createdAt)),
    h("td", { class: "spare", title: key.expiresAt && moment(key.expiresAt) }, key.expiresAt ? new Date(key.expiresAt).toLocaleDateString() : "never"),
    h("td", { class: "actions" }, key.revokedAt ? h("span", { class: "muted" }, "revoked") : button("Revoke", () => revoke(key, reload), { class: "danger", "aria-label": `Revoke ${key.name}` })));
  return h("section", { "aria-label": "API keys" }, h("div", { class: "head" }, h("h2", {}, "API keys"), button("New key", () => create(reload))),
    h("table", { class: "list" }, h("caption", { class: "unseen" }, "API keys"), h("thead", {}, h("tr", {}, ["Name", "Ends in", "For", "Age", "Expires", "Actions"].map((name) => h("th", { scope: "col", class: ["Age", "Expires"].includes(name) ? "spare" : null }, name === "Actions" ? h("span", { class: "unseen" }, name) : name)))),
      h("tbody", {}, keys.map(row))));
}

async function create(reload) {
  const name = h("input", { required: true, maxlength: 200, placeholder: "laptop" });
  const scope = choice([["all", "Everything"], ["metrics", "Only /metrics"]], "all");
  const lasts = choice(LASTS, "");
  const made = await ask("New API key", [field("Name", name), field("For", scope), field("Expires", lasts)], "Make it", () => api.post("/keys", {
    name: name.value, scope: scope.value, ...(lasts.value ? { expiresInSeconds: Number(lasts.value) } : {}),
  }));
  if (!made) return;
  const key = h("input", { readonly: true, value: made.key, class: "code" });
  await ask("The new key", [h("p", {}, "It is shown only once. Copy it now."), field("API key", key)], "Copy", async () => {
    key.select();
    await copy(made.key);
  });
  await reload();
}

async function revoke(key, reload) {
  const mine = session.key()?.endsWith(key.hint);
  const warning = mine ? "You are signed in with this key, so you will be signed out." : "Programs that use it will get an error.";
  if (await ask(`Revoke ${key.name}?`, h("p", {}, warning), "Revoke", () => api.remove(`/keys/${key.id}`), "danger")) await reload();
}
