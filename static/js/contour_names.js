// The names of the findings beside their contours. They are drawn on the stage, so that they are upright and as large as
// other text however the film lies.
import { svgElement } from "./svg.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {{ name: string, colour: string, at: import("./viewer.js").Point }} Name `at`: in shares of the film */

const HEIGHT = 16;
const LETTER = 7.5;

export class ContourNames {
  /**
   * @param {Viewer} viewer
   * @param {Element} svg of the stage
   */
  constructor(viewer, svg) {
    this.viewer = viewer;
    this.svg = svg;
    /** @type {Name[]} */
    this.names = [];
  }

  /** @param {Name[]} names */
  show(names) {
    this.names = names;
    this.draw();
  }

  draw() {
    if (!this.names.length && !this.svg.childElementCount) return;
    const { clientWidth, clientHeight } = this.viewer.stage;
    /** @type {{ x: number, y: number, width: number }[]} */
    const taken = [];
    const elements = this.names.flatMap(({ name, colour, at }) => {
      const { x, y } = this.viewer.placeOf(at);
      if (x < 0 || y < 0 || x > clientWidth || y > clientHeight) return [];
      const width = name.length * LETTER;
      const place = { x: Math.min(x + 4, Math.max(0, clientWidth - width)), y: Math.max(y - 4, HEIGHT), width };
      while (taken.some((other) => overlap(other, place))) place.y += HEIGHT;
      taken.push(place);
      const attributes = { x: place.x, y: place.y };
      return [
        svgElement("text", { ...attributes, class: "edge" }, name),
        svgElement("text", { ...attributes, fill: colour }, name),
      ];
    });
    this.svg.replaceChildren(...elements);
  }
}

/**
 * @param {{ x: number, y: number, width: number }} one
 * @param {{ x: number, y: number, width: number }} other
 */
function overlap(one, other) {
  return Math.abs(one.y - other.y) < HEIGHT && one.x < other.x + other.width && other.x < one.x + one.width;
}
