// Keeps the end of something that grows in sight, until one scrolls up; then offers to go there.

import { h } from "./dom.js";

const NEAR = 60;        // so near to the end is at the end
const MARGIN = 16;

export class Follow {
  // `tail`: the element whose lower edge is the end.
  constructor(tail, signal) {
    this.tail = tail;
    this.on = false;
    this.following = false;
    this.top = scrollY;
    this.button = h("button", { type: "button", class: "latest", hidden: true, on: { click: () => this.go() } }, "Jump to latest", h("span", { "aria-hidden": "true" }, "\u00a0↓"));
    addEventListener("scroll", () => this.scrolled(), { passive: true, signal });
    addEventListener("resize", () => this.grown(), { passive: true, signal });
  }

  // From here on, at the end.
  begin() {
    this.on = true;
    this.go();
  }

  // It grows no more.
  end() {
    this.on = false;
    this.button.hidden = true;
  }

  below() {
    return this.tail.getBoundingClientRect().bottom + MARGIN - innerHeight;
  }

  go() {
    this.following = true;
    this.grown();
  }

  grown() {
    if (!this.on) return;
    const below = this.below();
    if (this.following && below > 0) window.scrollBy(0, below);
    this.button.hidden = this.following || this.below() <= NEAR;
  }

  // Up is away from the end, and the end is where it was left.
  scrolled() {
    const up = scrollY < this.top;
    this.top = scrollY;
    if (!this.on) return;
    if (this.below() <= NEAR) this.following = true;
    else if (up) this.following = false;
    this.button.hidden = this.following || this.below() <= NEAR;
  }
}
