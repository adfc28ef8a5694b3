// What a command printed: Pi shows the last lines to the model, and keeps a longer output in a file.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

const SHOWN_BYTES = 50 * 1024; // what Pi shows at most
// Pi's own words below an output that it cut for its size. It shows whole lines of the end only, which may be few or
// none where a line is very long; or the end of the last line, with a size of "0B" if a line break follows.
const NOTICE = /\[Showing (?:lines \d+-\d+ of \d+ \([^)\n]* limit\)|(last) [^\]\n]*)\. Full output: ([^\]\n]*\/pi-bash-[^\]\n]+)\]/g;

/** The last `limit` bytes of a regular file as text, and the file's size; null where it cannot be read. */
export function tailOfFile(path, limit) {
  if (!path) return null;
  let file;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // an agent may have put a FIFO in its place
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, limit));
    const read = readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return { text: bytes.toString("utf8", 0, read).replace(/^\uFFFD{1,3}/, ""), size };
  } catch {
    return null;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** A command's result as Pi words it, but with the end of the output where Pi shows little of it or a wrong size. */
export function withItsEnd(text) {
  const notice = [...text.matchAll(NOTICE)].at(-1);
  const little = notice && (notice[1] || notice.index < SHOWN_BYTES / 2);
  const end = little && tailOfFile(notice[2], SHOWN_BYTES);
  if (!end) return text;
  const sizes = `the last ${kilobytes(Math.min(end.size, SHOWN_BYTES))} of ${kilobytes(end.size)}`;
  const rest = text.slice(notice.index + notice[0].length);
  return `${end.text.trimEnd()}\n\n[Showing ${sizes}. Full output: ${notice[2]}]${rest}`;
}

function kilobytes(bytes) {
  return `${(bytes / 1024).toFixed(1)} KB`;
}
