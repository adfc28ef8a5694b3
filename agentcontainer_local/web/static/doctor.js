// The doctor's table: checks of this machine with the command that fixes each, and the security promises with their latest proof.

import * as api from "./api.js";
import { announce, button, copy, fill, h } from "./dom.js";
import { age, duration, moment } from "./words.js";

const EVERY_MS = 2000;
const STATES = {
  ok: ["in order", "good"], warning: ["limited", "wait"], missing: ["missing", "bad"],
  enforced: ["enforced", "good"], not_enforced: ["not enforced", "bad"], unavailable: ["not possible here", "wait"],
};
const WORST = ["missing", "not_enforced", "warning", "unavailable", "ok", "enforced"];

// A section that examines the machine when it is made: the rest of the page does not wait for it.
export function doctor(signal) {
  return new Section(signal).element;
}

class Section {
  constructor(signal) {
    this.signal = signal;
    this.go = button("Test the security promises", () => this.prove(), { disabled: true });
    this.fault = h("p", { class: "fault", role: "alert" });
    this.progress = h("div", { class: "proving", hidden: true });
    this.step = h("span", { role: "status" });
    this.taken = h("span", { class: "muted" });
    fill(this.progress, h("progress", { "aria-label": "Testing the security promises" }), this.step, this.taken);
    this.report = h("div", { "aria-busy": "true" }, h("p", { class: "muted" }, "Checking the machine…"));
    this.element = h("section", { "aria-label": "Doctor" }, h("div", { class: "head" }, h("h2", {}, "Doctor"), this.go),
      h("p", { class: "muted" }, "What tasks need of the server's machine, and what isolates agents from it. To test the security promises, containers are started in which each promise is tried: that takes some ten seconds, and tasks go on meanwhile."),
      this.progress, this.fault, this.report);
    this.look().then((found) => found.proving && this.watch(() => !this.proving), (error) => this.failed(error));
  }

  async look() {
    const found = await api.get("/doctor", {}, this.signal);
    this.draw(found);
    return found;
  }

  failed(error) {
    if (error.name === "AbortError") return;
    fill(this.fault, error.message);
    if (this.report.hasAttribute("aria-busy")) fill(this.report, button("Look again", () => this.look().then(() => fill(this.fault))));
    this.report.removeAttribute("aria-busy");
  }

  async prove() {
    fill(this.fault);
    let over = false;
    const asked = api.call("POST", "/doctor", { signal: this.signal }).then((response) => response.json()).finally(() => { over = true; });
    const watched = this.watch(() => over);
    try {
      this.draw(await asked);
      const broken = this.found.proof.promises.filter((one) => one.status === "not_enforced").length;
      announce(broken ? `${broken} of the security promises are not enforced.` : "All security promises are enforced.", broken ? "error" : "info");
    } catch (error) {
      this.failed(error);
    } finally {
      await watched;
    }
  }

  // Says what is being tried until `over` answers true.
  async watch(over) {
    const began = Date.now();
    this.progress.hidden = false;
    this.go.setAttribute("aria-busy", "true");
    fill(this.step, "Beginning");
    const clock = setInterval(() => { this.taken.textContent = duration(Math.max(1000, Date.now() - began)); }, 1000);
    while (!over() && !this.signal.aborted) {
      await api.get("/doctor", {}, this.signal).then((found) => this.draw(found), () => {});
      for (let waited = 0; waited < EVERY_MS && !over() && !this.signal.aborted; waited += 100) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    clearInterval(clock);
    this.progress.hidden = true;
    this.taken.textContent = "";
    this.go.removeAttribute("aria-busy");
  }

  draw(found) {
    this.found = found;
    this.proving = found.proving;
    this.go.disabled = !found.ready;
    if (found.proving && this.step.textContent !== found.proving) fill(this.step, found.proving);
    const sign = JSON.stringify([found.ready, found.checks, found.proof]);
    if (this.sign === sign) return;
    this.sign = sign;
    const open = [...this.report.querySelectorAll("details")].map((fold) => fold.open);
    fill(this.report, summary(found), machine(found.checks, open[0]), promises(found.proof, open[1]));
    this.report.removeAttribute("aria-busy");
  }
}

const byWorst = (some) => [...some].sort((a, b) => WORST.indexOf(a.status) - WORST.indexOf(b.status));

function summary({ ready, checks }) {
  const missing = checks.filter((one) => one.status === "missing").length;
  const limited = checks.filter((one) => one.status === "warning").length;
  return h("p", {}, ready ? h("span", { class: "verdict good" }, "Tasks can run here.") : h("span", { class: "verdict bad" }, "Tasks can't run here: ", missing === 1 ? "something is missing." : `${missing} things are missing.`),
    limited ? ` ${limited === 1 ? "One thing is" : `${limited} things are`} limited.` : null);
}

function machine(checks, open = false) {
  const [wrong, good] = [byWorst(checks.filter((one) => one.status !== "ok")), checks.filter((one) => one.status === "ok")];
  return [
    wrong.length ? table("What is missing or limited", ["State", "What", "Found, and how to fix it"], wrong) : null,
    h("details", { class: "fold", open: open || null }, h("summary", {}, `${good.length} things are in order`),
      table("What is in order", ["State", "What", "Found"], good)),
  ];
}

function promises(proof, open = false) {
  if (proof === null) return h("p", { class: "empty-line" }, "The security promises have not been tested on this machine yet.");
  const held = proof.promises.filter((one) => one.status === "enforced").length;
  const broken = proof.promises.some((one) => one.status === "not_enforced");
  return [
    h("h3", {}, "Security promises"),
    h("details", { class: "fold", open: broken || open || null },
      h("summary", {}, `${held} of ${proof.promises.length} promises hold, as tried `, h("time", { datetime: proof.at, title: moment(proof.at) }, `${age(proof.at)} ago`.replace("now ago", "just now"))),
      table("Security promises", ["State", "Promise", "Seen"], byWorst(proof.promises))),
  ];
}

function table(name, head, some) {
  return h("table", { class: "list doctor" }, h("caption", { class: "unseen" }, name),
    h("thead", {}, h("tr", {}, head.map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, some.map((one) => {
      const [words, kind] = STATES[one.status];
      return h("tr", {}, h("td", { class: "state" }, h("span", { class: `badge ${kind}` }, words)), h("th", { scope: "row" }, one.name),
        h("td", { class: "seen" }, withCode(one.detail), one.fix && one.status !== "ok" ? mend(one) : null));
    })));
}

// What stands between backticks is code.
const withCode = (text) => text.split("`").map((part, at) => at % 2 ? h("code", {}, part) : part);

const mend = (one) => h("div", { class: "mend" }, h("code", {}, one.fix),
  button("Copy", () => copy(one.fix), { class: "quiet", "aria-label": `Copy the command for ${one.name}` }));
