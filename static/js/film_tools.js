// The bar below the film: the tool of the pointer, the window and its presets, and what undoes a step.
import { announce, byId, find, findAll } from "./page.js";
import { texts } from "./study_texts.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

export class FilmTools {
  /**
   * @param {Viewer} viewer
   * @param {import("./gestures.js").Gestures} gestures
   */
  constructor(viewer, gestures) {
    this.viewer = viewer;
    this.gestures = gestures;
    this.bar = byId("tools");
    this.brightness = byId("brightness", HTMLInputElement);
    this.contrast = byId("contrast", HTMLInputElement);
    this.level = byId("level", HTMLInputElement);
    this.width = byId("width", HTMLInputElement);
    this.preset = byId("preset", HTMLSelectElement);
    /** @type {Viewer["picture"]} whose presets the list shows */
    this.listed = null;
    this.bar.hidden = false;
    for (const slider of [this.brightness, this.contrast]) slider.addEventListener("input", () => this.brighten());
    for (const slider of [this.level, this.width]) slider.addEventListener("input", () => this.setWindow());
    this.preset.addEventListener("change", () => this.choosePreset(Number(this.preset.value)));
    /** @type {Record<string, () => void>} by the name that buttons and keys have */
    this.actions = {
      "zoom-in": () => viewer.zoomBy(1.3),
      "zoom-out": () => viewer.zoomBy(1 / 1.3),
      reset: () => viewer.reset(),
      invert: () => viewer.invert(),
      turn: () => viewer.turn(),
      mirror: () => viewer.mirror(),
      undo: () => announce(viewer.undo() ? texts.undone : texts.nothingToUndo),
      "next-preset": () => this.choosePreset((Number(this.preset.value) + 1) % this.preset.length),
      move: () => this.choose("move"),
      window: () => this.choose("window"),
      length: () => this.choose("length"),
      magnifier: () => this.choose("magnifier"),
    };
    this.update();
  }

  /**
   * Take a tool into the hand, or put it down for the usual one.
   *
   * @param {string} tool
   */
  choose(tool) {
    const { gestures } = this;
    gestures.tool = tool === gestures.tool ? "move" : tool;
    gestures.stage.dataset.tool = gestures.tool;
    for (const each of findAll(this.bar, "[data-tool]"))
      each.setAttribute("aria-pressed", String(each.dataset.tool === gestures.tool));
    announce(texts.tools[gestures.tool]);
    gestures.stage.focus({ preventScroll: true });
  }

  brighten() {
    this.viewer.remember("slider");
    this.viewer.set({ brightness: Number(this.brightness.value), contrast: Number(this.contrast.value) });
  }

  setWindow() {
    this.viewer.setWindow(Number(this.level.value), Math.max(Number(this.width.value), Number(this.width.step)));
  }

  /** @param {number} number of the preset; others are ignored */
  choosePreset(number) {
    const preset = this.viewer.picture?.presets[number];
    if (!preset) return;
    this.viewer.remember("preset");
    this.viewer.set({ window: number === 0 ? null : { ...preset.window } });
    announce(this.preset.options[this.preset.selectedIndex]?.textContent ?? "");
  }

  /** Show the state of the film. */
  update() {
    const { state, picture, window } = this.viewer;
    for (const each of findAll(this.bar, "[data-depth]"))
      each.hidden = (each.dataset.depth === "full") !== Boolean(picture);
    find(this.bar, '[data-action="invert"]').setAttribute("aria-pressed", String(state.isInverted));
    find(this.bar, '[data-action="mirror"]').setAttribute("aria-pressed", String(state.isMirrored));
    this.brightness.value = String(state.brightness);
    this.contrast.value = String(state.contrast);
    if (!picture || !window) return;
    if (picture !== this.listed) this.list(picture);
    this.level.value = String((window.lower + window.upper) / 2);
    this.width.value = String(window.upper - window.lower);
    const values = texts.window((window.lower + window.upper) / 2, window.upper - window.lower);
    byId("window-values").textContent = values;
    const chosen = picture.presets.findIndex(
      (preset) => preset.window.lower === window.lower && preset.window.upper === window.upper,
    );
    this.preset.value = String(chosen);
  }

  /** @param {NonNullable<Viewer["picture"]>} picture */
  list(picture) {
    this.listed = picture;
    const { lower, upper } = picture.range;
    const span = Math.max(upper - lower, 1);
    Object.assign(this.level, {
      min: String(lower - span / 2),
      max: String(upper + span / 2),
      step: String(span / 1000),
    });
    Object.assign(this.width, { min: "0", max: String(2 * span), step: String(span / 1000) });
    const names = picture.presets.map(({ name, explanation }) => texts.preset(name, explanation));
    const options = [texts.ownWindow, ...names].map((textContent, at) =>
      Object.assign(document.createElement("option"), { textContent, value: String(at - 1), hidden: at === 0 }),
    );
    this.preset.replaceChildren(...options);
  }
}
