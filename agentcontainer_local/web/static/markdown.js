// Markdown as GitHub shows it. markdown-it reads it; what it found is made into elements here, one by one, so that HTML
// in it is text and nothing in it is active.

import { h } from "./dom.js";
import MarkdownIt from "./vendor/markdown-it.js";

const MOST = 200_000;
const SAFE = /^(https?:|mailto:)/i;
const CHECK = /^\[([ xX])\]\s+/;
const CALLOUT = /^\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]\s*/;

const reader = new MarkdownIt({ html: false, linkify: true });
reader.linkify.set({ fuzzyLink: false, fuzzyEmail: false });       // else notes.md is the domain of Moldova

// `files`, if given, knows the files that stand beside the text: see files.js. `breaks`: a line's end is one, as in a message.
export function markdown(text, { files = null, breaks = false } = {}) {
  const root = h("div", { class: "prose" });
  new Builder(files, breaks).build(root, reader.parse(text.slice(0, MOST), {}));
  if (text.length > MOST) root.append(h("p", { class: "muted" }, "The rest is not shown."));
  return root;
}

const MADE = {
  em_open: () => h("em"), strong_open: () => h("strong"), s_open: () => h("del"),
  bullet_list_open: () => h("ul"), list_item_open: () => h("li", { dir: "auto" }), blockquote_open: () => h("blockquote", { dir: "auto" }),
  ordered_list_open: (token) => h("ol", { start: token.attrGet("start") }),
  paragraph_open: () => h("p", { dir: "auto" }),
  // Not h1: the headings of the page are others.
  heading_open: (token) => h("p", { class: `heading level-${token.tag[1]}`, dir: "auto" }),
  thead_open: () => h("thead"), tbody_open: () => h("tbody"), tr_open: () => h("tr"),
  th_open: (token) => h("th", { scope: "col", class: aligned(token), dir: "auto" }),
  td_open: (token) => h("td", { class: aligned(token), dir: "auto" }),
};

const aligned = (token) => /text-align:(\w+)/.exec(token.attrGet("style") ?? "")?.[1];

class Builder {
  constructor(files, breaks) {
    this.files = files;
    this.breaks = breaks;
  }

  build(root, tokens) {
    const open = [root];
    tokens.forEach((token, at) => {
      const inner = open.at(-1);
      if (token.hidden) return;                             // the paragraphs of a tight list
      if (token.nesting === -1) return void open.pop();
      if (token.type === "inline") return this.inline(inner, token, tokens.slice(Math.max(0, at - 2), at));
      const element = this.made(token, inner);
      if (token.nesting === 1) open.push(element);
      return null;
    });
  }

  // Before the words of an item there may be a box to tick, before those of a quotation what kind it is.
  inline(inner, token, before) {
    const parts = [...token.children];
    const marked = (type, pattern) => before.some((one) => one.type === type) && before.at(-1).type === "paragraph_open" ? pattern.exec(parts[0]?.content ?? "") : null;
    const box = marked("list_item_open", CHECK);
    const callout = marked("blockquote_open", CALLOUT);
    const mark = box ?? callout;
    if (mark) parts[0] = Object.assign(Object.create(Object.getPrototypeOf(parts[0])), parts[0], { content: parts[0].content.slice(mark[0].length) });
    if (box) inner.append(h("input", { type: "checkbox", disabled: true, checked: box[1] !== " ", "aria-label": box[1] === " " ? "Not done" : "Done" }));
    if (box) inner.closest("li").classList.add("task");
    if (callout) {
      inner.closest("blockquote").className = `callout ${callout[1].toLowerCase()}`;
      inner.append(h("strong", {}, callout[1][0] + callout[1].slice(1).toLowerCase()), h("br"));
      if (parts[1]?.type === "softbreak") parts.splice(1, 1);
    }
    this.build(inner, parts);
  }

  made(token, inner) {
    const element = this.leaf(token) ?? MADE[token.type]?.(token) ?? h("span");
    inner.append(element);
    return token.type === "table_open" ? element.firstChild : element;
  }

  leaf(token) {
    switch (token.type) {
      case "text": case "text_special": return document.createTextNode(token.content);
      case "softbreak": return this.breaks ? h("br") : document.createTextNode("\n");
      case "hardbreak": return h("br");
      case "hr": return h("hr");
      case "code_inline": return h("code", {}, token.content);
      case "fence": case "code_block": return code(token);
      case "table_open": return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table"));
      case "link_open": return this.link(token.attrGet("href"));
      case "image": return this.image(token.attrGet("src"), token.content);
      default: return null;
    }
  }

  link(href) {
    if (SAFE.test(href)) return h("a", { href, rel: "noopener noreferrer nofollow", target: "_blank", title: href });
    const found = this.files?.find(href);
    return found ? h("button", { type: "button", class: "link", on: { click: () => this.files.open(found) } }) : h("span", { title: href });
  }

  // One of the files beside it; nothing is loaded from elsewhere.
  image(src, alt) {
    const found = this.files?.find(src);
    if (found) return this.files.picture(found, alt);
    if (/^https?:/i.test(src)) return h("a", { href: src, rel: "noopener noreferrer nofollow", target: "_blank", title: src }, alt || src);
    return document.createTextNode(`![${alt}](${src})`);
  }
}

function code(token) {
  const language = /^[\w+#.-]*/.exec(token.info ?? "")[0];
  return h("pre", { tabindex: "0", dir: "ltr", "aria-label": language ? `${language} code` : "code" }, h("code", {}, token.content.replace(/\n$/, "")));
}
