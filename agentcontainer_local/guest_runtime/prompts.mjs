// Which prompts have reached Pi's session, so that a container that comes after this one resumes instead of repeating.
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Lines } from "./lines.mjs";
import { STATE_DIR } from "./paths.mjs";
import { textOf } from "./translation.mjs";

const RECORD = join(STATE_DIR, "prompts.json");

/**
 * Before a prompt is sent, its id and the number of user messages so far are written down. A later container finds
 * the prompt delivered when the session has that message after that place. (Comparing with the last user message
 * alone would take a second "continue" for the first, and miss a prompt that was followed by a steer.)
 */
export class Prompts {
  #record = load();
  #before = []; // digests of the user messages that the session had when this process started
  #count = 0;

  /** Reads the session that Pi has reopened. */
  async recall(sessionFile) {
    this.#before = await userMessages(sessionFile);
    this.#count = this.#before.length;
  }

  /** To be called for each user message that Pi puts into its session. */
  heard() {
    this.#count += 1;
  }

  /** Whether an earlier process has brought the prompt `id` into the session, in whatever words. */
  delivered(id) {
    const earlier = this.#record[id];
    if (!earlier) return false;
    const since = this.#before.slice(earlier.after);
    // Pi replaces /skill:name by the skill's text, so any message then is this one.
    return earlier.digest === null ? since.length > 0 : since.includes(earlier.digest);
  }

  note(id, message) {
    this.#record[id] = { after: this.#count, digest: message.startsWith("/") ? null : digest(message) };
    mkdirSync(STATE_DIR, { recursive: true });
    writeFileSync(`${RECORD}.new`, JSON.stringify(this.#record));
    renameSync(`${RECORD}.new`, RECORD);
  }
}

function load() {
  try {
    return JSON.parse(readFileSync(RECORD, "utf8"));
  } catch {
    return {}; // the first container of the task
  }
}

async function userMessages(sessionFile) {
  const found = [];
  const lines = new Lines(
    (text) => {
      const message = messageOf(text);
      if (message?.role === "user") found.push(digest(textOf(message.content)));
    },
    (prefix) => prefix.startsWith('{"type":"message"'),
  );
  try {
    for await (const chunk of createReadStream(sessionFile)) lines.push(chunk);
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  return found;
}

function messageOf(text) {
  try {
    return JSON.parse(text).message;
  } catch {
    return null; // a line torn by a sudden end
  }
}

function digest(message) {
  return createHash("sha256").update(message).digest("base64url").slice(0, 22);
}
