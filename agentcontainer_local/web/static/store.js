// Values kept for this tab or for this device. If the browser blocks storage, they are kept in memory.

class Memory {
  #kept = new Map();
  getItem(name) { return this.#kept.get(name) ?? null; }
  setItem(name, value) { this.#kept.set(name, value); }
  removeItem(name) { this.#kept.delete(name); }
  names() { return [...this.#kept.keys()]; }
}

const PROBE = "agentcontainer.probe";

function usable(kind) {
  try {
    const storage = window[kind];       // reading it throws where storage is blocked
    storage.setItem(PROBE, "");
    storage.removeItem(PROBE);
    return storage;
  } catch {
    return new Memory();
  }
}

export const tab = usable("sessionStorage");
export const device = usable("localStorage");
export const blocked = tab instanceof Memory;

// What was typed and not sent yet, for this tab.
const DRAFT = "agentcontainer.draft.";

export const draft = {
  read(name) {
    try { return JSON.parse(tab.getItem(DRAFT + name)); } catch { return null; }
  },
  write(name, value) {
    try { tab.setItem(DRAFT + name, JSON.stringify(value)); } catch { /* full: it is lost when the tab is reloaded */ }
  },
  remove(name) { tab.removeItem(DRAFT + name); },
  removeAll() {
    const names = tab instanceof Memory ? tab.names() : Object.keys(tab);
    names.filter((name) => name.startsWith(DRAFT)).forEach((name) => tab.removeItem(name));
  },
};
