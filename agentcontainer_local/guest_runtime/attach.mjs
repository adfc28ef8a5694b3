// attach: the agent adds files to its answer in a conversation.
import { util } from "./builtins.mjs";
import { main, WrongUse } from "./cli.mjs";
import { deliver } from "./outputs.mjs";

const USAGE = `Usage: attach FILE...

Adds files to your answer, so that the user gets them with it. A directory is added as one archive. Only in a
conversation.

Exit codes: 0 accepted, 1 refused (the reason is on stderr), 2 wrong use.
`;

/** What the arguments ask for: null for --help, else {files: [{path, outputName: null}]}. */
export function parse(argv) {
  const options = { help: { type: "boolean", short: "h" } };
  const { values, positionals } = util.parseArgs({ args: argv, options, allowPositionals: true });
  if (values.help) return null;
  if (positionals.length === 0) throw new WrongUse("give at least one file.");
  if (positionals.includes("")) throw new WrongUse("a file name is empty.");
  return { files: positionals.map((path) => ({ path, outputName: null })) };
}

/** Hands the files to the host; resolves with the words for an agent, throws Refused. */
export async function attach({ files }, options) {
  await deliver({ kind: "attach" }, files, options);
  return `Attached: ${files.map(({ path }) => path).join(", ")}`;
}

if (process.argv[1] === import.meta.filename) main({ name: "attach", usage: USAGE, parse, act: attach });
