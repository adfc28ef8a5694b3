// The agent's Markdown as elements, built one by one: what is not known here stays text, and HTML is text too.

import { h } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const BULLET = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const ROW = /^ {0,3}\|(.*)\|\s*$/;
const DIVIDER = /^ {0,3}\|?[\s:|-]*-[\s:|-]*\|?\s*$/;
const INLINE = /(`{1,3})(.+?)\1|\*\*(?=\S)(.+?\S?)\*\*|(?<![\w*])\*(?=\S)([^*]+?)\*(?![\w*])|\[([^\]\n]{1,300})\]\((https?:\/\/[^\s()<>]{1,2000})\)/;
const MOST = 100_000;
const MOST_INLINE = 5_000;            // longer ones are text: searching them for marks could take a while

export function markdown(text) {
  const lines = text.slice(0, MOST).split("\n");
  const blocks = [];
  while (lines.length) blocks.push(...block(lines));
  if (text.length > MOST) blocks.push(h("p", { class: "muted" }, "The rest is not shown."));
  return h("div", { class: "prose" }, blocks);
}

function block(lines) {
  const line = lines[0];
  if (!line.trim()) return lines.shift(), [];
  if (FENCE.test(line)) return [code(lines)];
  const heading = HEADING.exec(line);
  if (heading) return lines.shift(), [h("p", { class: `heading level-${heading[1].length}` }, inline(heading[2]))];
  if (RULE.test(line)) return lines.shift(), [h("hr")];
  if (BULLET.test(line)) return [list(lines)];
  if (ROW.test(line) && DIVIDER.test(lines[1] ?? "")) return [table(lines)];
  if (/^ {0,3}>/.test(line)) return [h("blockquote", {}, inline(taken(lines, (one) => /^ {0,3}>/.test(one)).map((one) => one.replace(/^ {0,3}> ?/, "")).join("\n")))];
  const words = [lines.shift(), ...taken(lines, (one) => one.trim() && ![FENCE, HEADING, BULLET, RULE].some((kind) => kind.test(one)))];
  return [h("p", {}, inline(words.join("\n")))];
}

function taken(lines, belongs) {
  const found = [];
  while (lines.length && belongs(lines[0])) found.push(lines.shift());
  return found;
}

function code(lines) {
  const [, fence, language] = FENCE.exec(lines.shift());
  const ends = (line) => line.trim().startsWith(fence) && !line.trim().replaceAll(fence[0], "");
  const text = taken(lines, (line) => !ends(line)).join("\n");
  lines.shift();
  return h("pre", { tabindex: "0", "aria-label": language ? `${language} code` : "code" }, h("code", {}, text));
}

function list(lines) {
  const [, , mark] = BULLET.exec(lines[0]);
  const items = [];
  while (lines.length && BULLET.test(lines[0])) {
    const [, indent, , words] = BULLET.exec(lines.shift());
    const more = taken(lines, (line) => /^ {2,}\S/.test(line) && !BULLET.test(line)).map((line) => line.trim());
    items.push(h("li", { class: indent.length > 1 ? "nested" : null }, inline([words, ...more].join("\n"))));
  }
  return h(/\d/.test(mark) ? "ol" : "ul", {}, items);
}

function table(lines) {
  const cells = (line) => ROW.exec(line)?.[1].split("|").map((cell) => cell.trim()) ?? [];
  const head = cells(lines.shift());
  lines.shift();
  const rows = taken(lines, (line) => ROW.test(line)).map(cells);
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, inline(cell))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, inline(cell))))))));
}

function inline(text) {
  if (text.length > MOST_INLINE) return [text];
  const parts = [];
  let rest = text;
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    parts.push(rest.slice(0, found.index), span(found));
    rest = rest.slice(found.index + found[0].length);
  }
  return [...parts, rest];
}

function span([, , code, strong, emphasis, label, url]) {
  if (code !== undefined) return h("code", {}, code);
  if (strong !== undefined) return h("strong", {}, strong);
  if (emphasis !== undefined) return h("em", {}, emphasis);
  return h("a", { href: url, rel: "noopener noreferrer nofollow", target: "_blank", title: url }, label);
}
