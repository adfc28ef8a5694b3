// What a failed task left behind, in a dialog: each file can be downloaded, or all of them as one archive.

import * as api from "./api.js";
import { button, h, unique } from "./dom.js";
import { saved } from "./preview.js";
import { bytes, plain } from "./words.js";

const MOST = 1000;

export async function showWorkspace(task) {
  const path = `/tasks/${task.id}/workspace`;
  const { data, pageInfo } = await api.get(path, { limit: MOST });
  const heading = unique("workspace");
  const dialog = h("dialog", { class: "file", "aria-labelledby": heading },
    h("header", {}, h("h2", { id: heading }, "Workspace"), h("span", { class: "muted" }, "Kept for a while after a task has failed")),
    h("ul", { class: "files scroll" }, data.filter(({ type }) => type !== "directory").map((entry) => line(path, entry))),
    pageInfo.hasMore ? h("p", { class: "muted" }, `Only the first ${MOST} entries are listed. The archive has all files.`) : null,
    h("div", { class: "actions" },
      h("button", { type: "button", on: { click: () => dialog.close() } }, "Close"),
      button("Download all", async () => saved(await api.bytes(`${path}/archive`, undefined, "application/x-tar"), `workspace-${task.id.slice(-8)}.tar`), { class: "primary" })));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function line(path, { path: name, type, sizeBytes }) {
  const content = `${path}/content?${new URLSearchParams({ path: name })}`;
  return h("li", {}, h("span", { class: "filename" }, plain(name)),
    h("span", { class: "muted" }, type === "file" ? bytes(sizeBytes) : type),
    type === "file" ? button("Download", async () => saved(await api.bytes(content), name.split("/").at(-1)), { class: "quiet", "aria-label": `Download ${plain(name)}` }) : null);
}
