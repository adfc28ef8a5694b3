// How figures and times are said.

export const STATUS = {
  pending: "Waiting", running: "Running", awaiting_input: "Your turn", hibernating: "Asleep",
  finished: "Finished", failed: "Failed", cancelled: "Cancelled", expired: "Expired",
};
export const ENDED = new Set(["finished", "failed", "cancelled", "expired"]);

export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return [`${minutes} min`, ...(Math.floor(seconds % 60) ? [`${Math.floor(seconds % 60)} s`] : [])].join(" ");
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

export function age(iso, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export const moment = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function money(usd) {
  if (usd === null || usd === undefined) return "unknown";
  if (usd === 0) return "$0";
  return usd < 1 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`;
}

export function count(n) {
  if (n < 1000) return String(n);
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)}k`;
  return `${(n / 1e6).toFixed(1)}M`;
}

export function bytes(n) {
  if (n < 1000) return `${n} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let at = -1;
  let value = n;
  do { value /= 1000; at += 1; } while (value >= 999.5 && at < units.length - 1);
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[at]}`;
}

// What names may hide: control characters and those that turn the reading direction are made visible.
export const plain = (text) => text.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

// A title that was not given is cut at 80 characters: this ends it at a word, and shows that it goes on.
const TITLE_LENGTH = 80;

export function titleOf({ title, instructions, mode }) {
  const line = instructions.trim().split("\n")[0].trim();
  const cut = title.length === TITLE_LENGTH && (mode === "conversation" || (line.startsWith(title) && line !== title));
  if (!cut) return title;
  const whole = title.slice(0, title.lastIndexOf(" "));
  return `${(whole.length > TITLE_LENGTH / 2 ? whole : title).trimEnd()}…`;
}
