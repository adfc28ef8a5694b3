// The entries of this tab's history: where each was scrolled to, and what its view wants to find again.

export class Places {
  constructor() {
    history.scrollRestoration = "manual";
    this.known = new Map();
    this.here = null;
    this.scrolledTo = 0;
    addEventListener("scroll", () => { this.scrolledTo = scrollY; }, { passive: true });
  }

  // Begins the entry that the history is at now: {kept, top}.
  enter() {
    if (this.here) this.here.top = this.scrolledTo;
    const { entry = crypto.getRandomValues(new Uint32Array(2)).join("-") } = history.state ?? {};
    history.replaceState({ entry }, "");
    if (!this.known.has(entry)) this.known.set(entry, { kept: {}, top: 0 });
    const place = this.known.get(entry);
    this.here = null;           // emptied first, the page scrolls by itself
    window.scrollTo(0, 0);
    return place;
  }

  // Once its view is drawn.
  restore(place) {
    this.here = place;
    if (place.top) window.scrollTo(0, place.top);
    this.scrolledTo = scrollY;
  }
}
