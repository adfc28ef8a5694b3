// The page's frame: who is signed in, which view the address names, and the bar above it.

import * as session from "./session.js";
import { signedOut } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { account } from "./account.js";
import { agent, agents } from "./agents.js";
import { container, containers } from "./containers.js";
import { dispatch } from "./new.js";
import { signIn } from "./signin.js";
import { task } from "./task.js";
import { tasks } from "./tasks.js";

// Each draws into `main` and lets go of what it holds when `signal` aborts.
const VIEWS = [
  [/^\/tasks$/, tasks, "Tasks"], [/^\/tasks\/([\w-]+)$/, task, "Task"], [/^\/new$/, dispatch, "New task"],
  [/^\/agents$/, agents, "Agents"], [/^\/agents\/([\w-]+)$/, agent, "Agent"],
  [/^\/containers$/, containers, "Containers"], [/^\/containers\/([\w-]+)$/, container, "Container"],
  [/^\/account$/, account, "Account"],
];
const PLACES = [["#/tasks", "Tasks"], ["#/agents", "Agents"], ["#/containers", "Containers"], ["#/account", "Account"]];

const main = h("main", { id: "content", tabindex: "-1" });
const bar = h("header", { class: "bar" });
const notices = h("div", { id: "notices", role: "status", "aria-live": "polite" });
let leaving = new AbortController();

function draw() {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const signedIn = session.key() !== null;
  fill(bar, ...(signedIn ? places() : [brand()]));
  fill(main);
  main.className = "";
  window.scrollTo(0, 0);
  if (!signedIn) return entitle("Sign in"), signIn(main, draw);
  const [path, asked = ""] = location.hash.slice(1).split("?");
  const [pattern, view, title] = VIEWS.find(([known]) => known.test(path)) ?? [];
  if (!view) return location.replace("#/tasks");
  entitle(title);
  view(main, { id: pattern.exec(path)[1], query: new URLSearchParams(asked), signal, entitle })
    .then(() => { if (!signal.aborted && !main.contains(document.activeElement)) main.focus({ preventScroll: true }); })
    .catch((error) => {
      if (signal.aborted || error.name === "AbortError") return;
      fill(main, h("h1", {}, error.status === 404 ? "There is nothing here" : "That did not work"),
        h("p", { class: "fault" }, error.message), h("p", {}, h("a", { href: "#/tasks" }, "To the tasks")));
    });
}

const entitle = (title) => { document.title = `${title} · AgentContainer`; };

const brand = () => h("a", { class: "brand", href: "#/tasks" }, "AgentContainer");

function places() {
  const here = location.hash.split("?")[0];
  const link = ([href, name]) => h("li", {}, h("a", { href, "aria-current": here === href ? "page" : here.startsWith(`${href}/`) ? "true" : null }, name));
  return [
    brand(),
    h("nav", { "aria-label": "Main" }, h("ul", {}, PLACES.map(link), h("li", {}, h("a", { href: "docs" }, "API")))),
    h("a", { class: "button primary", href: "#/new", "aria-current": here === "#/new" ? "page" : null }, "New task"),
  ];
}

async function begin() {
  fill(document.body,
    h("a", { class: "skip", href: "#content", on: { click: (event) => { event.preventDefault(); main.focus(); } } }, "Skip to the content"),
    bar, main, notices);
  addEventListener("hashchange", draw);
  // A file that misses its place would be opened instead of this page.
  for (const kind of ["dragover", "drop"]) {
    addEventListener(kind, (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
  }
  signedOut.addEventListener("signedout", () => {
    session.end();
    draw();
    announce("This key is no longer valid. Please sign in again.", "error");
  });
  draw();
}

begin();
