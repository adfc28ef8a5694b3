// Containers: the images that agents work in; and their versions.

import * as api from "./api.js";
import { ask, button, choice, field, fill, h } from "./dom.js";
import { versions } from "./versions.js";

const PRESETS = [["coding"], ["data-processing"], ["document-analysis"]];

const source = (version) => version.containerImage ?? `preset ${version.containerPreset}`;

export async function containers(main, { signal }) {
  const all = await api.all("/containers");
  if (signal.aborted) return;
  const row = (container) => h("tr", {},
    h("td", { class: "name" }, h("a", { href: `#/containers/${container.id}` }, container.name), container.isStandard ? h("span", { class: "tag" }, "standard") : null, container.archivedAt ? h("span", { class: "tag" }, "archived") : null,
      h("p", { class: "muted" }, container.description)),
    h("td", { class: "image" }, h("code", {}, source(container.currentVersion))), h("td", { class: "number" }, `v${container.currentVersion.number}`));
  fill(main, h("div", { class: "head" }, h("h1", {}, "Containers"), button("New container", () => edit(null), { class: "primary" })),
    h("table", { class: "list" }, h("caption", { class: "unseen" }, "Containers"), h("thead", {}, h("tr", {}, ["Container", "Image", "Version"].map((name) => h("th", { scope: "col", class: name.toLowerCase() }, name)))),
      h("tbody", {}, all.map(row))),
    all.some((container) => !container.isStandard) ? null : h("div", { class: "empty" }, h("h2", {}, "No containers of your own yet"),
      h("p", {}, "A container names a Linux image with a shell. The image needs none of our programs. Make a container, and choose it for an agent.")));
}

const fields = (version) => [["Preset", version.containerPreset], ["Image", version.containerImage], ["Contract", version.containerContractVersion]];

export async function container(main, { id, signal, entitle }) {
  const [one, past] = await Promise.all([api.get(`/containers/${id}`, {}, signal), api.all(`/containers/${id}/versions`)]);
  entitle(one.name);
  const reload = () => container(main, { id, signal, entitle });
  fill(main,
    h("div", { class: "head" }, h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/containers" }, "Containers"), " / ", h("code", {}, one.id)),
      h("h1", { dir: "auto" }, one.name), h("p", { class: "under muted", dir: "auto" }, one.description)),
    h("div", { class: "actions" }, one.archivedAt ? h("span", { class: "tag" }, "archived") : null,
      one.isStandard ? button("Fork", () => fork(one)) : null,
      one.isStandard || one.archivedAt ? null : [button("Edit", () => edit(one, reload)), button("Archive", () => archive(one, reload), { class: "danger" })])),
    h("div", { class: "columns" }, h("div", { class: "column" }, h("section", {}, versions(past, fields))),
      h("aside", { "aria-label": "Current version" }, h("section", {}, h("h2", {}, `Version ${one.currentVersion.number}`), h("table", { class: "facts" }, h("tbody", {},
        fields(one.currentVersion).filter(([, value]) => value).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))))))));
}

async function fork(one) {
  const name = h("input", { required: true, maxlength: 200, value: `${one.name} (copy)` });
  const once = api.intent();
  const made = await ask(`Fork ${one.name}`, field("Name", name, "A copy that you can change."), "Fork",
    () => api.post(`/containers/${one.id}/fork`, { name: name.value }, once));
  if (made) location.hash = `#/containers/${made.id}`;
}

async function archive(one, reload) {
  const done = await ask(`Archive ${one.name}?`, h("p", {}, "No new agent can use it. Agents that use it continue."), "Archive", () => api.remove(`/containers/${one.id}`), "danger");
  if (done) await reload();
}

async function edit(one, done) {
  const version = one?.currentVersion;
  const name = h("input", { required: true, maxlength: 200, value: one?.name ?? "" });
  const about = h("input", { value: one?.description ?? "" });
  const preset = choice([["", "An image of my own"], ...PRESETS], version?.containerPreset ?? "");
  const image = h("input", { value: version?.containerImage ?? "", maxlength: 500, spellcheck: "false", placeholder: "docker.io/library/python:3.13-slim" });
  const imageField = field("Image", image, "Any Linux image with a shell.");
  const own = () => {
    imageField.hidden = preset.value !== "";
    image.required = preset.value === "";
  };
  preset.addEventListener("change", own);
  own();
  const once = api.intent();
  const made = await ask(one ? `Edit ${one.name}` : "New container", [
    field("Name", name), field("Description", about), field("Preset", preset), imageField,
  ], one ? "Save" : "Make it", () => {
    const body = {
      name: name.value, description: about.value,
      ...(preset.value ? { containerPreset: preset.value } : { containerImage: image.value.trim() }),
    };
    return one ? api.patch(`/containers/${one.id}`, body) : api.post("/containers", body, once);
  });
  if (made && !one) location.hash = `#/containers/${made.id}`;
  else if (made) await done();
}
