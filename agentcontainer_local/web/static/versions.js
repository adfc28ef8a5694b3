// The versions of an agent or a container, and what differs between two of them.

import { choice, fill, h, unique } from "./dom.js";
import { fieldDiff, textDiff } from "./diff.js";
import { age, moment } from "./words.js";

// `fields` answers [[name, value]] of a version; `text`, if given, its long text, with a `textName`.
export function versions(all, fields, textName, text) {
  const options = all.map((version) => [version.id, `Version ${version.number}`]);
  const list = h("ol", { class: "versions", reversed: true }, all.map((version, at) => h("li", {},
    h("strong", {}, `Version ${version.number}`), at === 0 ? h("span", { class: "tag" }, "current") : null,
    h("code", {}, version.id), h("time", { class: "muted", datetime: version.createdAt, title: moment(version.createdAt) }, age(version.createdAt)))));
  if (all.length < 2) {
    return [h("h2", {}, "Versions"), list, h("p", { class: "muted" }, "A change that affects tasks makes a new version. Versions can be compared here. Tasks keep the version that they began with.")];
  }
  const before = choice(options, all[1].id, { id: unique("version") });
  const after = choice(options, all[0].id, { id: unique("version") });
  const shown = h("div", { class: "comparison", "aria-live": "polite" });
  const compare = () => {
    const [a, b] = [before, after].map((select) => all.find((version) => version.id === select.value));
    const words = text && text(a) !== text(b) ? [h("h3", {}, `${textName}, line by line`), textDiff(text(a), text(b))] : null;
    const changed = [fieldDiff(fields(a), fields(b)), words].filter(Boolean);
    fill(shown, a === b ? h("p", { class: "muted" }, "These are the same version.")
      : changed.length ? changed : h("p", { class: "muted" }, "The versions do not differ in the fields shown here."));
  };
  before.addEventListener("change", compare);
  after.addEventListener("change", compare);
  compare();
  return [h("h2", {}, "Versions"), list, h("h2", {}, "What changed"),
    h("div", { class: "compare" }, h("label", { for: before.id }, "From"), before, h("label", { for: after.id }, "to"), after), shown];
}
