// Who is signed in: the API key, in this tab only, or on this device if that was asked for. It is never in a URL.

import { device, draft, tab } from "./store.js";

const NAME = "agentcontainer.key";

export const key = () => tab.getItem(NAME) ?? device.getItem(NAME);

export function begin(value, keep) {
  end();
  (keep ? device : tab).setItem(NAME, value);
}

export function end() {
  tab.removeItem(NAME);
  device.removeItem(NAME);
  draft.removeAll();
}

// Calls `changed` when another tab signed in or out on this device, and this tab goes by that.
export function watch(changed) {
  addEventListener("storage", (event) => {
    if ((event.key === NAME || event.key === null) && !tab.getItem(NAME)) changed();
  });
}

// What HTTP can carry in a header; a key that has anything else was not copied whole.
export function fault(value) {
  const strange = /[^\x21-\x7e]/u.exec(value);
  if (!strange) return null;
  return `A key has no ${strange[0].trim() ? `character “${strange[0]}”` : "spaces"}. Copy it again, without quotation marks or line ends.`;
}
