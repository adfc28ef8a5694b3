// Lets everybody write to directories of an image. Runs as root while that image is made, and never for a task.
import { appendFileSync, chmodSync, existsSync, lstatSync, readdirSync, realpathSync } from "node:fs";
import { dirname } from "node:path";

/** Links are not followed: what they lead to is not what was named. */
function open(path) {
  const stats = lstatSync(path);
  const mode = stats.mode & 0o777;
  if (stats.isDirectory()) {
    chmodSync(path, mode | 0o777);
    const names = readdirSync(path, { encoding: "buffer" }); // bytes: a name need not be text
    for (const name of names) open(Buffer.concat([Buffer.from(path), Buffer.from("/"), name]));
  } else if (stats.isFile()) {
    chmodSync(path, mode | 0o666 | (mode & 0o111 ? 0o111 : 0));
  }
}

/** What is above may be entered, but not read: /root of /root/.local. */
function enter(path) {
  for (let at = dirname(path); at !== "/"; at = dirname(at)) chmodSync(at, lstatSync(at).mode & 0o7777 | 0o011);
}

for (const given of process.argv.slice(2)) {
  if (!existsSync(given) || !lstatSync(realpathSync(given)).isDirectory()) {
    console.error(`writablePaths: the image has no directory ${given}.`);
    process.exit(1);
  }
  const path = realpathSync(given);
  if (/^\/(proc|sys|dev|run|opt\/agentcontainer|workspace)(\/|$)|^\/$/.test(path)) {
    console.error(`writablePaths: ${given} leads to ${path}, which can't be opened.`);
    process.exit(1);
  }
  open(path);
  enter(path);
}
// Git works in no repository of somebody else's, unless it is told that it may.
appendFileSync("/etc/gitconfig", "\n[safe]\n\tdirectory = *\n");
