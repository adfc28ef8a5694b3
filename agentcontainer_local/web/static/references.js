// The files that every task of an agent finds in its folder `reference_files`.

import * as api from "./api.js";
import { button, h } from "./dom.js";
import { Drop } from "./drop.js";
import { download, preview } from "./preview.js";
import { bytes, plain } from "./words.js";

export function references(agent, files, reload) {
  const own = !agent.isStandard && !agent.archivedAt;
  const path = `/agents/${agent.id}/reference-files`;
  const drop = new Drop();
  const attach = async () => {
    const fileIds = await drop.ids();
    if (!fileIds.length) throw new Error("Choose a file first.");
    await api.post(path, { fileIds });
    await reload();
  };
  const row = (file) => {
    const [name, content] = [plain(file.filename), `/files/${file.id}/content`];
    const detach = async () => {
      await api.remove(`${path}/${file.id}`);
      await reload();
    };
    return h("li", {}, h("button", { type: "button", class: "file-name", dir: "auto", on: { click: () => preview(file, content) } }, name),
      h("span", { class: "muted size" }, bytes(file.sizeBytes)),
      button("Download", () => download(file, content), { class: "quiet", "aria-label": `Download ${name}` }),
      own ? button("Detach", detach, { class: "quiet", "aria-label": `Detach ${name}` }) : null);
  };
  if (!own && !files.length) return null;
  return h("section", { "aria-label": "Reference files" }, h("h2", {}, "Reference files"),
    h("p", { class: "muted" }, "Every task finds them in ", h("code", {}, "~/reference_files"), "."),
    files.length ? h("ul", { class: "files" }, files.map(row)) : null,
    own ? h("div", { class: "attach" }, drop.element, button("Attach", attach)) : null);
}
