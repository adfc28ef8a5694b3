// Where a run's time went: waiting, starting, thinking, tools; and the rests between, which are not to scale.

import { fill, h, svg } from "./dom.js";
import { duration, ENDED } from "./words.js";

const NAMES = { waiting: "Waiting", starting: "Starting", thinking: "Thinking", tools: "Tools" };
const RESTS = { hibernating: "Asleep", awaiting_input: "Waiting for you" };
const WIDTH = 1000;
const REST_WIDTH = 14;

// [{phase, from, to}] in milliseconds, without gaps. Starting lasts until the agent has its task: where no event says
// when that was, until its first sign of life.
export function phases(events, createdAt, now) {
  const found = [];
  let phase = "waiting";
  let since = Date.parse(createdAt);
  let tools = 0;
  const become = (next, at) => {
    if (next === phase) return;
    if (phase && at > since) found.push({ phase, from: since, to: at });
    phase = next;
    since = Math.max(at, since);
  };
  for (const { event, data, createdAt: when } of events) {
    const at = Date.parse(when);
    if (event === "task.updated" && data.status) {
      if (data.status === "pending") become("waiting", at);
      else if (data.status === "running" && phase !== "thinking" && phase !== "tools") become(data.event === "messaged" ? "thinking" : "starting", at);
      else if (RESTS[data.status]) become(data.status, at);
      else if (ENDED.has(data.status)) become(null, at);
      if (data.status !== "running") tools = 0;
    } else if (event === "activity.started") {
      tools += 1;
      become("tools", at);
    } else if (event === "activity.completed") {
      tools = Math.max(0, tools - 1);
      if (!tools && phase === "tools") become("thinking", at);
    } else if (phase === "starting" && begins(event, data)) {
      become("thinking", at);
    }
  }
  if (phase) found.push({ phase, from: since, to: Math.max(since, now) });
  return found;
}

const begins = (event, data) =>
  (event === "message.created" && data.role === "assistant")
  || (event === "message.updated" && data.role === "user" && data.status === "running")
  || (event === "notice" && data.kind === "prompted");

export class Timeline {
  constructor() {
    this.bar = svg("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: "none", role: "img" });
    this.legend = h("ul", { class: "legend" });
    this.element = h("section", { class: "times", "aria-label": "Time line" }, this.bar, this.legend);
  }

  show(events, createdAt, now) {
    const found = phases(events, createdAt, now);
    const rests = found.filter(({ phase }) => RESTS[phase]).length;
    const total = found.reduce((sum, { phase, from, to }) => sum + (RESTS[phase] ? 0 : to - from), 0) || 1;
    const scale = (WIDTH - rests * REST_WIDTH) / total;
    let x = 0;
    fill(this.bar, found.map(({ phase, from, to }) => {
      const width = RESTS[phase] ? REST_WIDTH : (to - from) * scale;
      const part = svg("rect", { class: `phase ${phase}`, x: x.toFixed(2), y: 0, width: Math.max(width, 0.5).toFixed(2), height: 10 },
        svg("title", {}, `${NAMES[phase] ?? RESTS[phase]}: ${duration(to - from)}`));
      x += width;
      return part;
    }));
    const sums = {};
    for (const { phase, from, to } of found) sums[phase] = (sums[phase] ?? 0) + to - from;
    const said = Object.entries({ ...NAMES, ...RESTS }).filter(([phase]) => NAMES[phase] || sums[phase]);
    fill(this.legend, said.map(([phase, name]) => h("li", { "data-phase": phase },
      h("span", { class: `swatch ${phase}` }), name, " ", h("strong", {}, duration(sums[phase] ?? 0)))));
    this.bar.setAttribute("aria-label", said.map(([phase, name]) => `${name} ${duration(sums[phase] ?? 0)}`).join(", "));
  }
}
