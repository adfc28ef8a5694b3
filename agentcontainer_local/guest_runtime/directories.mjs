// Directories as one archive each: packed for the host, and unpacked for the agent. Only plain files and directories.
import { constants } from "node:fs";
import { access, lstat, mkdir, open, readdir, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { END, entries, header, padding } from "./tar.mjs";

const CHUNK = 256 * 1024;
const MAX_ENTRIES = 20_000;

/** What is in the directory: `{entries, size}`, with the archive's size. An Error says what can't be packed. */
export async function plan(directory) {
  const root = await realpath(directory);
  const found = [];
  await look(root, "", found, root);
  const size = found.reduce((sum, entry) => sum + header(entry).length + entry.size + padding(entry.size), END.length);
  return { entries: found, size, name: `${basename(root) || "root"}.tar` };
}

async function look(directory, below, found, root) {
  for (const raw of (await readdir(directory, { encoding: "buffer" })).sort(Buffer.compare)) {
    const part = raw.toString("utf8");
    if (!Buffer.from(part).equals(raw)) throw new Error(`the name of a file in ${shown(below)} is not UTF-8`);
    const [path, name] = [join(directory, part), below ? `${below}/${part}` : part];
    const entry = await entryOf(path, name, root);
    found.push(entry);
    if (found.length > MAX_ENTRIES) throw new Error(`it has more than ${MAX_ENTRIES} files and directories`);
    if (entry.directory) await look(path, name, found, root);
  }
}

/** A link to a file of the same directory counts as that file. */
async function entryOf(path, name, root) {
  let [at, stats] = [path, await lstat(path)];
  if (stats.isSymbolicLink()) {
    at = await realpath(path).catch(() => "");
    if (!at) throw new Error(`${shown(name)} is a link that leads to nothing`);
    if (!at.startsWith(`${root}/`)) throw new Error(`${shown(name)} is a link that leads out of it`);
    stats = await lstat(at);
    if (!stats.isFile()) throw new Error(`${shown(name)} is a link to a directory`);
  }
  const mtime = stats.mtimeMs / 1000;
  if (stats.isDirectory()) return { name, path: at, size: 0, mode: 0o755, mtime, directory: true };
  if (!stats.isFile()) throw new Error(`${shown(name)} is neither a file nor a directory`);
  await access(at, constants.R_OK).catch(() => {
    throw new Error(`${shown(name)} cannot be read (permission denied)`);
  });
  return { name, path: at, size: stats.size, mode: stats.mode & 0o100 ? 0o755 : 0o644, mtime, mtimeMs: stats.mtimeMs };
}

/** The archive's bytes; `changed(name)` makes the error for a file that is not any more as it was planned. */
export async function* packed({ entries: planned }, changed) {
  for (const entry of planned) {
    yield header(entry);
    if (!entry.directory) yield* content(entry, changed);
  }
  yield END;
}

async function* content({ name, path, size, mtimeMs }, changed) {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => null);
  if (!file) throw changed(name);
  try {
    for (let position = 0; position < size; ) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(CHUNK, size - position)));
      if (bytesRead === 0) throw changed(name);
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
    const stats = await file.stat();
    if (!stats.isFile() || stats.size !== size || stats.mtimeMs !== mtimeMs) throw changed(name);
  } finally {
    await file.close();
  }
  if (padding(size)) yield Buffer.alloc(padding(size));
}

/** Into `target`, which is made; an Error says what is wrong with the archive. */
export async function unpack(archive, target) {
  const file = await open(archive, "r");
  try {
    let left = (await file.stat()).size;
    const read = async (length) => {
      if (length > left) throw new Error("the archive is cut off");
      left -= length;
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length);
      if (bytesRead !== length) throw new Error("the archive is cut off");
      return buffer;
    };
    await mkdir(target);
    let count = 0;
    for await (const entry of entries(read)) {
      if ((count += 1) > MAX_ENTRIES) throw new Error(`it has more than ${MAX_ENTRIES} files and directories`);
      if (entry.size > left) throw new Error("the archive is cut off");
      await place(join(target, inside(entry.name)), entry, read);
    }
  } finally {
    await file.close();
  }
}

async function place(path, { size, mode, directory }, read) {
  if (directory) return void (await mkdir(path, { recursive: true }));
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, "wx", mode & 0o100 ? 0o755 : 0o644);
  try {
    for (let left = size; left > 0; left -= Math.min(CHUNK, left)) await file.writeFile(await read(Math.min(CHUNK, left)));
  } finally {
    await file.close();
  }
  await read(padding(size));
}

function inside(name) {
  const parts = name.replace(/^(\.\/)+|\/+$/g, "").split("/");
  if (name.startsWith("/") || name.includes("\0") || parts.some((part) => part === ".." || part === "." || part === "")) {
    if (name.replace(/[./]/g, "") === "" && !name.includes("..")) return "."; // the directory itself
    throw new Error(`${shown(name)} is no name of a file in it`);
  }
  return parts.join("/");
}

function shown(name) {
  return JSON.stringify(name || ".");
}
