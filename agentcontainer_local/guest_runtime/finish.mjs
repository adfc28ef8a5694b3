// finish: the agent says that its task is done and which files are its outputs.
import { util } from "./builtins.mjs";
import { main, WrongUse } from "./cli.mjs";
import { deliver } from "./outputs.mjs";

const USAGE = `Usage: finish (--complete-task | --incomplete-task) --message TEXT [FILE...] [--output NAME=PATH ...]

Ends the task. Once accepted, the container stops: call it last.

  --complete-task      the task is done in full
  --incomplete-task    it is not, or only in part; say in the message what is missing
  --message TEXT       the result, in words (required)
  FILE...              output files of the task; a directory is handed over as one archive
  --output NAME=PATH   the output that the task calls NAME is the file or directory PATH (only where outputs have names)

Exit codes: 0 accepted, 1 refused (the reason is on stderr; mend it and call again), 2 wrong use.
`;
const OPTIONS = {
  "complete-task": { type: "boolean" },
  "incomplete-task": { type: "boolean" },
  message: { type: "string", short: "m" },
  output: { type: "string", multiple: true },
  help: { type: "boolean", short: "h" },
};

/** What the arguments ask for: null for --help, else {completion, message, files: [{path, outputName}]}. */
export function parse(argv) {
  const { values, positionals } = util.parseArgs({ args: argv, options: OPTIONS, allowPositionals: true });
  if (values.help) return null;
  if (Boolean(values["complete-task"]) === Boolean(values["incomplete-task"])) {
    throw new WrongUse("give one of --complete-task and --incomplete-task.");
  }
  const message = values.message?.trim();
  if (!message) throw new WrongUse('give --message "what was done".');
  if (positionals.includes("")) throw new WrongUse("a file name is empty.");
  const named = (values.output ?? []).map(namedOutput);
  const plain = positionals.map((path) => ({ path, outputName: null }));
  return { completion: values["complete-task"] ? "complete" : "incomplete", message, files: [...plain, ...named] };
}

function namedOutput(text) {
  const at = text.indexOf("=");
  const [outputName, path] = [text.slice(0, at).trim(), text.slice(at + 1)];
  if (at < 0 || !outputName || !path) throw new WrongUse(`--output takes NAME=PATH, not ${JSON.stringify(text)}.`);
  return { path, outputName };
}

/** Hands the wish to the host; resolves with the words for an agent, throws Refused. */
export async function finish({ completion, message, files }, options) {
  await deliver({ kind: "finish", completion, message }, files, options);
  return `Accepted. The task has ended as ${completion}.`;
}

if (process.argv[1] === import.meta.filename) main({ name: "finish", usage: USAGE, parse, act: finish, endsRun: true });
