// An earlier film of the patient beside the present one; zoom, place and window of the two follow each other.
import { FullDepth } from "./full_depth.js";
import { Gestures } from "./gestures.js";
import { announce, byId, find, findAll } from "./page.js";
import { Sides } from "./sides.js";
import { texts } from "./study_texts.js";
import { Viewer } from "./viewer.js";

const PRELOADED = 2;

export class Priors {
  /**
   * @param {Viewer} present
   * @param {HTMLElement} panels
   */
  constructor(present, panels) {
    this.present = present;
    this.panels = panels;
    this.pane = byId("prior");
    this.linked = byId("prior-linked", HTMLInputElement);
    this.viewer = new Viewer(this.pane);
    this.fullDepth = new FullDepth(this.viewer, this.pane);
    new Gestures(this.viewer);
    this.viewer.film.addEventListener("error", () => this.viewer.film.hasAttribute("src") && this.fail());
    /** @type {DOMStringMap} of the button that chose the film */
    this.image = {};
    const sides = new Sides(this.viewer, () => this.image);
    this.address = "";
    this.isFollowing = false;
    this.viewer.changed = () => {
      sides.draw();
      this.follow(this.viewer, present);
    };
    this.linked.addEventListener("change", () => this.presentChanged());
    // The event does not bubble, and the section may be replaced.
    panels.addEventListener("toggle", ({ target }) => this.preload(target), { capture: true });
  }

  /**
   * Fetch the newest earlier films as soon as a reader opens their section, so that they are there at once.
   *
   * @param {EventTarget | null} section that was opened or closed
   */
  preload(section) {
    const [newest] = this.buttons;
    if (!newest || !(section instanceof HTMLDetailsElement) || !section.open || !section.contains(newest)) return;
    for (const { dataset } of this.buttons.slice(0, PRELOADED)) new Image().src = dataset.film ?? "";
  }

  get isOpen() {
    return !this.pane.hidden;
  }

  get buttons() {
    return findAll(this.panels, '[data-action="compare"]');
  }

  /** @param {HTMLElement} button of an earlier study; pressed again, it closes it */
  toggle(button) {
    const { film = "", address = "", syntax = "", name = "" } = button.dataset;
    if (this.isOpen && address === this.address) return this.close();
    this.address = address;
    this.image = button.dataset;
    this.pane.hidden = false;
    find(this.pane, ".prior-tag").textContent = name;
    this.viewer.clear();
    this.viewer.open(film);
    this.fullDepth.show(address, syntax).then(() => this.presentChanged());
    this.mark();
    announce(texts.comparing(name));
  }

  /** Compare with the newest earlier study, or close the one that is open. */
  toggleFirst() {
    const [first] = this.buttons;
    if (this.isOpen) this.close();
    else if (first) this.toggle(first);
    else announce(texts.noPriors);
  }

  close() {
    this.pane.hidden = true;
    this.address = "";
    this.fullDepth.show();
    this.viewer.film.removeAttribute("src");
    this.mark();
  }

  fail() {
    this.close();
    announce(texts.priorFailed);
  }

  /** Show in the panels, which may have been replaced, what is compared. */
  mark() {
    for (const each of this.buttons)
      each.setAttribute("aria-pressed", String(this.isOpen && each.dataset.address === this.address));
  }

  /** The present film is shown in another way. */
  presentChanged() {
    if (this.isOpen) this.follow(this.present, this.viewer);
  }

  /**
   * @param {Viewer} from
   * @param {Viewer} to
   */
  follow(from, to) {
    if (this.isFollowing || !this.isOpen || !this.linked.checked) return;
    const { zoom, x, y, turns, isMirrored, isInverted, brightness, contrast } = from.state;
    const [across, down] = ["clientWidth", "clientHeight"].map((side) => {
      const name = /** @type {"clientWidth" | "clientHeight"} */ (side);
      return to.stage[name] / (from.stage[name] || 1);
    });
    this.isFollowing = true;
    to.set({
      zoom,
      x: x * across,
      y: y * down,
      turns,
      isMirrored,
      isInverted,
      brightness,
      contrast,
      window: relatedWindow(from, to),
    });
    this.isFollowing = false;
  }
}

/**
 * The window that lies to the file's window of one film as that of another film lies to its own.
 *
 * @param {Viewer} from
 * @param {Viewer} to
 */
export function relatedWindow(from, to) {
  const [own, other] = [from, to].map(({ picture }) => picture?.presets[0].window);
  const { window } = from.state;
  if (!own || !other || !window) return null;
  const scale = (other.upper - other.lower) / (own.upper - own.lower || 1);
  return {
    lower: other.lower + (window.lower - own.lower) * scale,
    upper: other.lower + (window.upper - own.lower) * scale,
  };
}
