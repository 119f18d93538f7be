// The findings' table and the AI's overlay. The reader looks at the film first: a map is shown when it is asked for.
import { colourOf, OverlayLayers } from "./overlay_layers.js";
import { announce, byId, find, findAll } from "./page.js";
import { texts } from "./study_texts.js";

/** A key that is held longer was pressed for a short look. */
const HOLD_MS = 500;

export class Overlay {
  /**
   * @param {HTMLElement} panels
   * @param {string} heatmapUrl the address of a map, with LABEL for the finding
   * @param {import("./contour_names.js").ContourNames} names
   * @param {() => void} showMainImage shows the image that the AI read
   */
  constructor(panels, heatmapUrl, names, showMainImage) {
    this.panels = panels;
    this.layers = new OverlayLayers(heatmapUrl, names);
    this.showMainImage = showMainImage;
    this.image = this.layers.first;
    this.keepButton = find(document, '[data-action="keep-overlay"]', HTMLButtonElement);
    /** The findings whose maps stay while others are picked, by label. @type {Set<string>} */
    this.kept = new Set();
    this.opacity = byId("opacity", HTMLInputElement);
    this.toggleButton = find(document, '[data-action="overlay"]', HTMLButtonElement);
    this.label = "";
    this.isOn = false;
    this.pressedAt = 0;
    this.opacity.addEventListener("input", () => this.changeOpacity(0));
    document.addEventListener("keyup", ({ key, timeStamp }) => key.toLowerCase() === "h" && this.release(timeStamp));
    window.addEventListener("blur", () => this.release(Number.POSITIVE_INFINITY));
  }

  get rows() {
    return findAll(this.panels, "tr[data-label]");
  }

  /** The finding that keys act on: the one that has the focus, or else the one that was picked last. */
  get picked() {
    const focused = document.activeElement?.closest("tr[data-label]");
    if (focused instanceof HTMLElement) return focused;
    return this.rows.find(({ dataset }) => dataset.label === this.label) ?? null;
  }

  /** @param {boolean} isShown whether the hospital wants the overlay at once */
  start(isShown) {
    const first = findAll(this.panels, "tr.is-flagged[data-map]")[0] ?? findAll(this.panels, "tr[data-map]")[0] ?? null;
    this.pick(first, isShown && first?.matches(".is-flagged") === true);
  }

  /** Show the same as before in a new table. */
  restore() {
    this.pick(this.picked, this.isOn);
  }

  /**
   * Pick a finding, and show its map over the film or none.
   *
   * @param {HTMLElement | null} chosen a row of the findings
   * @param {boolean} show
   */
  pick(chosen, show) {
    // Only the image that the AI read has maps.
    if (show) this.showMainImage();
    this.label = chosen?.dataset.label ?? "";
    this.isOn = show && chosen?.dataset.map !== undefined;
    for (const each of this.rows) {
      const isShown = each === chosen && this.isOn;
      each.classList.toggle("is-picked", each === chosen);
      each.classList.toggle("is-shown", isShown);
      find(each, ".pick").setAttribute("aria-pressed", String(isShown));
    }
    this.toggleButton.setAttribute("aria-pressed", String(this.isOn));
    this.toggleButton.disabled = !this.rows.some(({ dataset }) => "map" in dataset);
    this.keepButton.disabled = !this.isOn;
    this.keepButton.setAttribute("aria-pressed", String(this.isOn && this.kept.has(this.label)));
    for (const id of ["overlay-tag", "scale"]) byId(id).hidden = !this.isOn;
    this.draw(chosen);
  }

  /** The findings whose maps are shown: the picked one first, then those that are kept. */
  get shown() {
    if (!this.isOn) return [];
    const kept = this.rows.filter(({ dataset }) => "map" in dataset && this.kept.has(dataset.label ?? ""));
    const picked = this.rows.filter(({ dataset }) => dataset.label === this.label);
    return [...picked, ...kept.filter((row) => !picked.includes(row))];
  }

  /** @param {HTMLElement | null} chosen */
  draw(chosen) {
    const { shown } = this;
    const layers = shown.map(({ dataset }) => ({
      label: dataset.label ?? "",
      name: dataset.name ?? "",
      map: dataset.map ?? "",
    }));
    this.layers.show(layers, Number(this.opacity.value) / 100);
    if (!chosen || !this.isOn) return;
    const lines = shown.map(({ dataset: { name = "", localised, outside } }, at) => {
      const line = document.createElement("span");
      line.style.setProperty("--contour", colourOf(at));
      line.textContent = texts.overlayOf(name, localised !== undefined, outside !== undefined);
      return line;
    });
    byId("overlay-tag").replaceChildren(...lines);
    byId("scale-name").textContent = layers.map(({ name }) => name).join(", ");
  }

  /** Keep the picked finding's map while others are looked at, or no longer. */
  keep() {
    if (!this.isOn) return;
    const { name = "" } = this.picked?.dataset ?? {};
    const isKept = !this.kept.delete(this.label);
    if (isKept) this.kept.add(this.label);
    this.pick(this.picked, true);
    announce(isKept ? texts.overlayKept(name) : texts.overlayNotKept(name));
  }

  /**
   * Show a finding's map, or hide it where it is shown. Whether anything changed.
   *
   * @param {HTMLElement | null} chosen
   */
  choose(chosen) {
    if (!chosen) return false;
    const { name = "", label } = chosen.dataset;
    if (!("map" in chosen.dataset)) {
      announce(texts.noMap(name));
      this.pick(chosen, false);
      return false;
    }
    const show = !(label === this.label && this.isOn);
    this.pick(chosen, show);
    announce(show ? texts.overlayShown(name) : texts.overlayHidden);
    return true;
  }

  toggle() {
    return this.choose(this.picked ?? findAll(this.panels, "tr[data-map]")[0] ?? null);
  }

  /**
   * Go to another finding. Its map is shown where one was shown before.
   *
   * @param {number} step
   */
  move(step) {
    const { rows } = this;
    if (!rows.length) return;
    const at = this.picked ? rows.indexOf(this.picked) + step : 0;
    const row = rows[Math.min(Math.max(at, 0), rows.length - 1)];
    this.pick(row, this.isOn);
    find(row, ".pick").focus();
  }

  /**
   * The key goes down: the overlay changes, and changes back when the key was held.
   *
   * @param {number} at milliseconds
   */
  press(at) {
    this.pressedAt = this.toggle() ? at : 0;
  }

  /** @param {number} at milliseconds */
  release(at) {
    if (this.pressedAt && at - this.pressedAt > HOLD_MS) this.toggle();
    this.pressedAt = 0;
  }

  /** @param {number} step */
  changeOpacity(step) {
    this.opacity.value = String(Number(this.opacity.value) + step);
    this.layers.fade(Number(this.opacity.value) / 100);
  }
}
