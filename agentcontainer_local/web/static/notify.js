// What is told to who looks elsewhere: by the tab's title, and by a notification where that was allowed.

import { h } from "./dom.js";

const known = () => "Notification" in window;

// A button that asks the browser for leave; nothing where it has been given, was refused, or can't be asked for.
export function notifyButton() {
  if (!known() || Notification.permission !== "default") return null;
  const button = h("button", { type: "button", on: { click: async () => { await Notification.requestPermission(); button.hidden = true; } } }, "Notify me");
  button.title = "Notifies you when the task ends or waits for you while this tab is hidden.";
  return button;
}

export function notify(title, body) {
  if (!known() || Notification.permission !== "granted" || !document.hidden) return;
  try {
    const told = new Notification(title, { body, tag: location.hash, icon: new URL("icon.svg", import.meta.url).href });
    told.addEventListener("click", () => { window.focus(); told.close(); });
  } catch { /* a phone, where only a service worker may */ }
}
