// hibernate: the agent asks to sleep until a moment or a message.
import { util } from "./builtins.mjs";
import { main, WrongUse } from "./cli.mjs";
import { ask } from "./outputs.mjs";

const USAGE = `Usage: hibernate (--for DURATION | --until TIME) [--message TEXT]

Puts the task to sleep. The workspace is kept; running processes are not. You are woken when the time has come or by
a message. Once accepted, the container stops.

  --for DURATION   such as 90s, 45m, 2h, 1d12h
  --until TIME     such as 2026-01-31T08:00:00Z
  --message TEXT   why, or what to do next

Exit codes: 0 accepted, 1 refused (the reason is on stderr), 2 wrong use.
`;
const SECONDS = { s: 1, m: 60, h: 3600, d: 86400 };
const DURATION = /^(\d+(?:\.\d+)?[smhd])+$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/i;

/** What the arguments ask for: null for --help, else {forSeconds | untilAt, message}. */
export function parse(argv) {
  const options = {
    for: { type: "string" },
    until: { type: "string" },
    message: { type: "string", short: "m" },
    help: { type: "boolean", short: "h" },
  };
  const { values } = util.parseArgs({ args: argv, options });
  if (values.help) return null;
  return wish(values);
}

/** The same for a tool call: `{for?, until?, message?}`. Throws WrongUse. */
export function wish({ for: duration, until, message }) {
  if ((duration === undefined) === (until === undefined)) throw new WrongUse("give one of --for and --until.");
  const when = duration === undefined ? { untilAt: instant(until) } : { forSeconds: seconds(duration) };
  return { ...when, message: message?.trim() || null };
}

function seconds(text) {
  const duration = text.trim().toLowerCase();
  const shown = JSON.stringify(text);
  if (!DURATION.test(duration)) throw new WrongUse(`${shown} is no duration: write 90s, 45m, 2h or 1d12h.`);
  let sum = 0;
  for (const [, number, unit] of duration.matchAll(/(\d+(?:\.\d+)?)([smhd])/g)) sum += Number(number) * SECONDS[unit];
  if (sum <= 0 || !Number.isSafeInteger(Math.ceil(sum))) throw new WrongUse(`${shown} is no time to sleep.`);
  return Math.ceil(sum);
}

function instant(text) {
  const moment = new Date(text.trim());
  if (!TIME.test(text.trim()) || Number.isNaN(moment.getTime())) {
    throw new WrongUse(`${JSON.stringify(text)} is no time: write it as 2026-01-31T08:00:00Z, with Z or an offset.`);
  }
  return moment.toISOString();
}

/** Hands the wish to the host; resolves with the words for an agent, throws Refused. */
export async function hibernate(request, options) {
  await ask("/guest/hibernate", request, options);
  return "Accepted. The task sleeps now; stop here.";
}

if (process.argv[1] === import.meta.filename) main({ name: "hibernate", usage: USAGE, parse, act: hibernate, endsRun: true });
