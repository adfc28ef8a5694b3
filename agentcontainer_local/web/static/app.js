// The page's frame: who is signed in, which view the address names, the bar above it, and whether the server answers.

import * as session from "./session.js";
import { signedOut } from "./api.js";
import { connection } from "./connection.js";
import { announce, fill, h } from "./dom.js";
import { account } from "./account.js";
import { agent, agents } from "./agents.js";
import { container, containers } from "./containers.js";
import { dispatch } from "./new.js";
import { Places } from "./places.js";
import { signIn } from "./signin.js";
import { task } from "./task.js";
import { tasks } from "./tasks.js";
import { tryIt } from "./try.js";

// Each draws into `main` and releases its resources when `signal` aborts.
const VIEWS = [
  [/^\/tasks$/, tasks, "Tasks"], [/^\/tasks\/([\w-]+)$/, task, "Task"], [/^\/new$/, dispatch, "New task"],
  [/^\/agents$/, agents, "Agents"], [/^\/agents\/([\w-]+)$/, agent, "Agent"],
  [/^\/containers$/, containers, "Containers"], [/^\/containers\/([\w-]+)$/, container, "Container"],
  [/^\/account$/, account, "Account"],
  [/^\/try$/, tryIt, "Try it"],
];
const LINKS = [["#/tasks", "Tasks"], ["#/agents", "Agents"], ["#/containers", "Containers"], ["#/account", "Account"]];

const main = h("main", { id: "content", tabindex: "-1" });
const bar = h("header", { class: "bar" });
const away = h("p", { class: "away", role: "alert", hidden: true });
const notices = h("div", { id: "notices", role: "status", "aria-live": "polite" });
const said = h("div", { id: "said", class: "unseen", role: "status", "aria-live": "polite" });
const places = new Places();
let leaving = new AbortController();

function draw() {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const signedIn = session.key() !== null;
  const place = places.enter();
  fill(bar, ...(signedIn ? links() : [brand()]));
  fill(main);
  fill(notices);
  main.className = "";
  if (!signedIn) return entitle("Sign in"), signIn(main, draw);
  const [path, asked = ""] = location.hash.slice(1).split("?");
  const [pattern, view, title] = VIEWS.find(([known]) => known.test(path)) ?? [];
  if (!view) return location.replace("#/tasks");
  entitle(title);
  view(main, { id: pattern.exec(path)[1], query: new URLSearchParams(asked), signal, entitle, kept: place.kept })
    .then(() => {
      if (signal.aborted) return;
      if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });
      places.restore(place);
    })
    .catch((error) => {
      if (signal.aborted || error.name === "AbortError") return;
      fill(main, h("h1", {}, error.status === 404 ? "There is nothing here" : "Something went wrong"),
        h("p", { class: "fault" }, error.message), h("p", {}, h("a", { href: "#/tasks" }, "To the tasks")));
      if (!error.status) connection.addEventListener("found", draw, { once: true, signal });
    });
}

const entitle = (title) => { document.title = `${title} · AgentContainer`; };

const brand = () => h("a", { class: "brand", href: "#/tasks" }, "AgentContainer");

function links() {
  const here = location.hash.split("?")[0];
  const link = ([href, name]) => h("li", {}, h("a", { href, "aria-current": here === href ? "page" : here.startsWith(`${href}/`) ? "true" : null }, name));
  return [
    brand(),
    h("nav", { "aria-label": "Main" }, h("ul", {}, LINKS.map(link), h("li", {}, h("a", { href: "docs" }, "API")))),
    h("a", { class: "button begin", href: "#/new", "aria-current": here === "#/new" ? "page" : null }, "New task"),
  ];
}

function watchConnection() {
  connection.addEventListener("lost", () => {
    document.documentElement.classList.add("lost");
    fill(away, h("strong", {}, "The server does not answer"), ` since ${connection.lostAt.toLocaleTimeString()}. The page shows the state of that time, and tries again every second.`);
    away.hidden = false;
  });
  connection.addEventListener("found", () => {
    document.documentElement.classList.remove("lost");
    away.hidden = true;
  });
}

function watchSession() {
  const leave = (words, kind) => {
    session.end();
    draw();
    announce(words, kind);
  };
  signedOut.addEventListener("signedout", () => leave("This key is no longer valid. Please sign in again.", "error"));
  session.watch(() => session.key() === null ? leave("You signed out in another tab.") : draw());
}

// On paper nothing is folded.
function watchPrinting() {
  let folded = [];
  addEventListener("beforeprint", () => {
    dispatchEvent(new Event("printing"));           // a view draws what it has left out
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((fold) => { fold.open = false; }));
}

function begin() {
  fill(document.body,
    h("a", { class: "skip", href: "#content", on: { click: (event) => { event.preventDefault(); main.focus(); } } }, "Skip to the content"),
    bar, away, main, notices, said);
  addEventListener("hashchange", draw);
  // A file that misses its place would be opened instead of this page.
  for (const kind of ["dragover", "drop"]) {
    addEventListener(kind, (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
  }
  watchConnection();
  watchSession();
  watchPrinting();
  draw();
}

if (!window.tooOld) begin();
