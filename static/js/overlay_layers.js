// Draws the maps of findings over the film: heatmaps, contours or both, of one finding or of several.

import { contourPath, topOf } from "./contours.js";
import { byId } from "./page.js";
import { requestJson } from "./requests.js";
import { texts } from "./study_texts.js";
import { svgElement } from "./svg.js";

/** @typedef {{ label: string, name: string, map: string }} Layer */

/** Contours run where the contribution is half of the fixed scale. */
const LEVEL = 128;
/** All readers can tell them from each other, also those who are colour-blind. They are seen on every grey (Okabe and Ito). */
const COLOURS = ["#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#e69f00", "#d55e00"];
const MODES = ["both", "heatmap", "contour"];

export class OverlayLayers {
  /**
   * @param {string} heatmapUrl the address of a map, with LABEL for the finding
   * @param {import("./contour_names.js").ContourNames} names
   */
  constructor(heatmapUrl, names) {
    this.heatmapUrl = heatmapUrl;
    this.names = names;
    this.first = byId("overlay", HTMLImageElement);
    this.contours = byId("contours", /** @type {any} */ (SVGElement));
    this.mode = byId("overlay-mode", HTMLSelectElement);
    /** @type {HTMLImageElement[]} */
    this.others = [];
    /** @type {Layer[]} */
    this.layers = [];
    this.opacity = 1;
    /** @type {Map<string, Promise<import("./contours.js").Grid>>} */
    this.grids = new Map();
    this.mode.addEventListener("change", () => this.draw());
  }

  /** Show heatmaps, or contours, or both: the next of them. */
  nextMode() {
    this.mode.value = MODES[(MODES.indexOf(this.mode.value) + 1) % MODES.length];
    this.draw();
    return this.mode.options[this.mode.selectedIndex]?.textContent ?? "";
  }

  /**
   * @param {Layer[]} layers the picked finding first; none hides all
   * @param {number} opacity
   */
  show(layers, opacity) {
    this.layers = layers;
    this.opacity = opacity;
    this.draw();
  }

  /** @param {Layer} layer */
  address({ label, map }) {
    // The finding's key makes the address of another result another address; it names no patient.
    return `${this.heatmapUrl.replace("LABEL", label)}?of=${map}`;
  }

  draw() {
    const [picked, ...others] = this.layers;
    const hasHeat = this.mode.value !== "contour";
    this.first.hidden = !picked;
    this.first.classList.toggle("without-heat", !hasHeat);
    if (picked) {
      const address = this.address(picked);
      if (this.first.getAttribute("src") !== address) this.first.src = address;
      this.first.alt = texts.whereTheModelLooked(picked.name);
    }
    for (const image of this.others) image.remove();
    this.others = hasHeat
      ? others.map((layer) =>
          Object.assign(document.createElement("img"), { className: "overlay", alt: "", src: this.address(layer) }),
        )
      : [];
    this.first.after(...this.others);
    this.fade(this.opacity);
    this.drawContours();
  }

  /** @param {number} opacity 0 to 1 */
  fade(opacity) {
    this.opacity = opacity;
    for (const image of [this.first, ...this.others]) image.style.opacity = String(opacity);
  }

  async drawContours() {
    const layers = this.mode.value === "heatmap" ? [] : this.layers;
    const film = byId("film", HTMLImageElement);
    const [width, height] = [film.naturalWidth || 1, film.naturalHeight || 1];
    this.contours.replaceChildren();
    this.names.show([]);
    this.contours.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const shown = this.layers;
    const found = await Promise.all(
      layers.map(async (layer, at) => {
        const path = contourPath(await this.grid(layer), LEVEL, width, height);
        return { path, name: layer.name, colour: colourOf(at), top: topOf(path) };
      }),
    ).catch(() => []);
    if (shown !== this.layers) return;
    this.contours.replaceChildren(...found.map(({ path, colour }) => svgElement("path", { d: path, stroke: colour })));
    this.names.show(
      found.flatMap(({ name, colour, top }) =>
        top ? [{ name, colour, at: { x: top.x / width, y: top.y / height } }] : [],
      ),
    );
  }

  /** @param {Layer} layer */
  grid(layer) {
    const address = `${this.address(layer)}&as=values`;
    const known = this.grids.get(address) ?? requestJson(address);
    this.grids.set(address, known);
    known.catch(() => this.grids.delete(address));
    return known;
  }
}

/**
 * The colour of a contour, by its place among those that are shown.
 *
 * @param {number} at
 */
export function colourOf(at) {
  return COLOURS[at % COLOURS.length];
}
