// Elements from plain calls: text is only ever text, since nothing here parses HTML.

export const h = (tag, props = {}, ...children) => filled(document.createElement(tag), props, children);

const SVG = "http://www.w3.org/2000/svg";
export const svg = (tag, props = {}, ...children) => filled(document.createElementNS(SVG, tag), props, children);

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

const nodes = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

export const fill = (element, ...children) => {
  element.replaceChildren(...nodes(children));
  return element;
};

// Makes the children of `parent` those of `items`, and leaves alone what has not changed: focus, folds and selection stay.
export function keyed(parent, items, key, sign, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const id = String(key(item));
    const signature = String(sign(item));
    let element = known.get(id);
    if (!element || element.dataset.sign !== signature) {
      const made = make(item, element);
      if (element && element !== made && element.contains(document.activeElement)) refocus(element, made);
      element = made;
      element.dataset.key = id;
      element.dataset.sign = signature;
    }
    return element;
  });
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child) && !wanted.some((w) => w.dataset.key === child.dataset.key)) child.remove();
  wanted.forEach((element, at) => {
    const there = parent.children[at];
    if (there === element) return;
    if (there && there.dataset.key === element.dataset.key) there.replaceWith(element);
    else parent.insertBefore(element, there ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}

// The same place in the new element, once it is in the document.
function refocus(old, made) {
  const focusable = "a, button, summary, input, select, textarea";
  const at = [...old.querySelectorAll(focusable)].indexOf(document.activeElement);
  queueMicrotask(() => made.querySelectorAll(focusable)[at]?.focus());
}

let numbers = 0;
export const unique = (prefix) => `${prefix}-${(numbers += 1)}`;

// Shown for a while, and said to those who listen. Clicks pass through it, and another view takes it away.
export function announce(text, kind = "info") {
  const place = document.getElementById("notices");
  if (!place) return;
  const notice = h("p", { class: `notice ${kind}` }, text);
  place.append(notice);
  setTimeout(() => notice.remove(), kind === "error" ? 9000 : 4000);
}

// Said to those who listen; who looks sees it anyway.
export function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

// A button that is at work until what it does is done, and says what went wrong.
export function button(label, act, props = {}) {
  const element = h("button", { type: "button", ...props, on: { click: () => work(element, act) } }, label);
  return element;
}

export async function work(element, act) {
  if (element.getAttribute("aria-busy") === "true") return;
  element.setAttribute("aria-busy", "true");
  try {
    await act();
  } catch (error) {
    if (error.name !== "AbortError") announce(error.message, "error");
  } finally {
    element.removeAttribute("aria-busy");
  }
}

// Browsers give the clipboard only to pages of this machine, or that came encrypted.
export async function copy(text) {
  if (!navigator.clipboard) throw new Error("The browser does not let this page copy: select the text and copy it.");
  await navigator.clipboard.writeText(text);
  announce("Copied");
}

// A dialog that answers what `act` answers, or null when it was closed.
export function ask(title, content, label, act, kind = "primary") {
  return new Promise((resolve) => {
    const heading = unique("dialog");
    const fault = h("p", { class: "fault", role: "alert" });
    const go = h("button", { class: kind, type: "submit" }, label);
    const form = h("form", { method: "dialog" }, h("h2", { id: heading }, title), h("div", { class: "body" }, content, fault),
      h("div", { class: "actions" }, h("button", { type: "button", on: { click: () => dialog.close() } }, "Close"), go));
    const dialog = h("dialog", { "aria-labelledby": heading, class: "asking" }, form);
    let answer = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      fill(fault);
      go.setAttribute("aria-busy", "true");
      try {
        answer = (await act()) ?? true;
        dialog.close();
      } catch (error) {
        fill(fault, error.message);
      } finally {
        go.removeAttribute("aria-busy");
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    (form.querySelector(":is(input, textarea, select):not([readonly])") ?? form.querySelector("button")).focus();
  });
}

export const field = (label, control, hint) => {
  control.id ||= unique("field");
  const note = hint ? h("p", { class: "hint", id: unique("hint") }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note);
};

export const choice = (options, value, props = {}) => h("select", props, options.map(([id, label]) =>
  h("option", { value: id, selected: id === value }, label ?? id)));
