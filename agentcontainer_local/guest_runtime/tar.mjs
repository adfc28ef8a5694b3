// The tar format (POSIX pax), as far as plain files and directories need it.
const BLOCK = 512;
const MAX_HEADER_BYTES = 64 * 1024;

export const END = Buffer.alloc(2 * BLOCK);

/** How many bytes of zeros follow a content of that size. */
export function padding(size) {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** What stands before an entry's content. A directory's `size` is 0. */
export function header({ name, size, mode, mtime, directory = false }) {
  const path = Buffer.from(directory ? `${name}/` : name);
  const own = block(path.subarray(0, 100), size, mode, mtime, directory ? "5" : "0");
  if (path.length <= 100 && size < 8 ** 11) return own;
  const records = Buffer.concat([record("path", path), record("size", Buffer.from(String(size)))]);
  const before = block(Buffer.from("pax"), records.length, 0o644, mtime, "x");
  return Buffer.concat([before, records, Buffer.alloc(padding(records.length)), own]);
}

function block(name, size, mode, mtime, type) {
  const bytes = Buffer.alloc(BLOCK);
  const octal = (value, at, length) => bytes.write(value.toString(8).padStart(length - 1, "0").slice(1 - length), at);
  name.copy(bytes);
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(Math.max(0, Math.floor(mtime)), 136, 12);
  bytes.write("        ", 148);
  bytes.write(`${type}`, 156);
  bytes.write("ustar\u000000", 257);
  octal(bytes.reduce((sum, byte) => sum + byte, 0), 148, 7);
  bytes[155] = 0x20;
  return bytes;
}

/** `12 path=a.txt\n`: the number counts the whole line, itself included. */
function record(key, value) {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/**
 * The entries of an archive: `{name, size, mode, directory}`. `read(length)` gives the next bytes of it; after each
 * entry, the caller has read its content and padding. Throws at anything that is no plain file or directory.
 */
export async function* entries(read) {
  for (let given = {}; ; ) {
    const bytes = await read(BLOCK);
    if (bytes.every((byte) => byte === 0)) return;
    const text = (at, length) => bytes.toString("utf8", at, at + length).replace(/\0.*$/s, "");
    const number = (at, length) => parseInt(text(at, length).trim() || "0", 8);
    const sum = bytes.reduce((all, byte, at) => all + (at >= 148 && at < 156 ? 0x20 : byte), 0);
    if (sum !== number(148, 8)) throw new Error("it is no tar archive, or damaged");
    const type = text(156, 1) || "0";
    const size = given.size ?? number(124, 12);
    if (!Number.isSafeInteger(size) || size < 0) throw new Error("the size of an entry makes no sense");
    if (["x", "g", "L"].includes(type)) {
      if (size > MAX_HEADER_BYTES) throw new Error("the header of an entry is too long");
      const content = await read(size);
      await read(padding(size));
      if (type === "x") given = { ...given, ...records(content) };
      if (type === "L") given = { ...given, name: content.toString("utf8").replace(/\0.*$/s, "") };
      continue;
    }
    const prefix = text(257, 5) === "ustar" ? text(345, 155) : "";
    const name = given.name ?? (prefix ? `${prefix}/` : "") + text(0, 100);
    if (type !== "0" && type !== "5") throw new Error(`${JSON.stringify(name)} is a link or a special file`);
    yield { name, size: type === "5" ? 0 : size, mode: number(100, 8), directory: type === "5" };
    given = {};
  }
}

function records(content) {
  const found = {};
  for (let at = 0; at < content.length; ) {
    const length = parseInt(content.toString("latin1", at, at + 20), 10);
    if (!(length > 0)) throw new Error("the header of an entry makes no sense");
    const [, key, value] = /^\d+ ([^=]+)=(.*)\n$/s.exec(content.toString("utf8", at, at + length)) ?? [];
    if (key === "path") found.name = value;
    if (key === "size") found.size = Number(value);
    if (key?.startsWith("GNU.sparse")) throw new Error("an entry is a sparse file");
    at += length;
  }
  return found;
}
