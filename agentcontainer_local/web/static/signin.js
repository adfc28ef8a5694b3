// Signing in with an API key.

import { call } from "./api.js";
import * as session from "./session.js";
import { field, fill, h, work } from "./dom.js";
import { blocked } from "./store.js";

export function signIn(main, done) {
  const key = h("input", { type: "password", name: "key", required: true, autocomplete: "current-password", spellcheck: "false", placeholder: "ac_live_…" });
  const keep = h("input", { type: "checkbox", id: "keep" });
  const fault = h("p", { class: "fault", role: "alert" });
  const go = h("button", { class: "primary", type: "submit" }, "Sign in");
  const form = h("form", { class: "signin" },
    h("h1", {}, "Sign in"),
    h("p", {}, "Use an API key of this server. The first start printed one; ",
      h("code", {}, "agentcontainer keys create"), " makes another."),
    field("API key", key),
    blocked
      ? h("p", { class: "hint" }, "This browser blocks storage. You are signed in until this tab is closed or reloaded.")
      : h("div", { class: "check" }, keep, h("label", { for: "keep" }, "Keep me signed in on this device")),
    fault, go);
  const refused = async () => {
    const value = key.value.trim();
    const strange = session.fault(value);
    if (strange) return strange;
    try {
      await call("GET", "/account", { key: value });
      return null;
    } catch (error) {
      return error.status === 401 ? "The server does not accept this key." : error.message;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    work(go, async () => {
      fill(fault);
      const words = await refused();
      if (words) {
        fill(fault, words);
        key.focus();
        return;
      }
      session.begin(key.value.trim(), keep.checked);
      done();
    });
  });
  main.className = "narrow";
  fill(main, form);
  key.focus();
}
