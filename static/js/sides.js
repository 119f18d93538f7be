// The sides of the patient at the edges of the film, as its Patient Orientation says (PS3.3 C.7.6.1.1.1).
import { texts } from "./study_texts.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

/** @type {Record<string, string>} */
const OPPOSITE = { R: "L", L: "R", A: "P", P: "A", H: "F", F: "H" };
const AXES = ["RL", "AP", "HF"];

export class Sides {
  /**
   * @param {Viewer} viewer
   * @param {() => DOMStringMap} image whose film is shown
   */
  constructor(viewer, image) {
    this.viewer = viewer;
    this.image = image;
    this.marks = ["top", "right", "bottom", "left"].map((edge) =>
      Object.assign(document.createElement("span"), { className: `side at-${edge}` }),
    );
    this.unknown = Object.assign(document.createElement("span"), { className: "side is-unknown" });
    viewer.stage.append(...this.marks, this.unknown);
  }

  draw() {
    const { orientation, view } = this.image();
    const { turns, isMirrored } = this.viewer.state;
    const edges = turnedEdges(edgesOf(orientation ?? "", view ?? ""), turns, isMirrored);
    this.marks.forEach((mark, at) => {
      if (mark.textContent !== edges[at]) mark.textContent = edges[at];
    });
    this.unknown.textContent = edges[0] ? "" : texts.sidesUnknown;
  }
}

/**
 * The patient's directions at the top, right, bottom and left edge of a film as it is opened; empty where they are unknown.
 *
 * Frontal images of R, L, H and F are opened upright, all others as they are stored (`ml/dicom/orientation.py`).
 *
 * @param {string} orientation along a row and along a column, such as "L\F"
 * @param {string} view View Position
 */
export function edgesOf(orientation, view) {
  const unknown = ["", "", "", ""];
  const values = orientation.split("\\").map((value) => value.trim().toUpperCase());
  const [across, down] = values.map((value) => AXES.findIndex((axis) => axis.includes(value[0])));
  if (values.length !== 2 || !values.every((value) => /^[APRLHF]+$/.test(value)) || across === down) return unknown;
  const isFrontal = ["", "PA", "AP"].includes(view.trim().toUpperCase());
  if (isFrontal && values.some((value) => value === "A" || value === "P")) return unknown;
  const [right, bottom] = values.every((value) => /^[RLHF]$/.test(value)) ? ["L", "F"] : values;
  return [opposite(bottom), right, bottom, opposite(right)];
}

/**
 * @param {string[]} edges top, right, bottom and left
 * @param {number} turns by 90 degrees clockwise
 * @param {boolean} isMirrored before it is turned
 */
export function turnedEdges([top, right, bottom, left], turns, isMirrored) {
  const edges = isMirrored ? [top, left, bottom, right] : [top, right, bottom, left];
  return edges.map((_, at) => edges[(at - turns + 4) % 4]);
}

/** @param {string} direction */
function opposite(direction) {
  return [...direction].map((letter) => OPPOSITE[letter]).join("");
}
