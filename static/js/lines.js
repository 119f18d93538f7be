// Lengths on the film. A line is kept in shares of the film, so it stays where it is when the film moves.
import { announce, find } from "./page.js";
import { texts } from "./study_texts.js";
import { svgElement } from "./svg.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("./viewer.js").Point} Point */
/** @typedef {"calibrated" | "at-detector" | "uncalibrated"} Calibration */
/** @typedef {{ calibration: Calibration, area: number }} Scale `area`: of the film in square millimetres; 0: unknown */

const SHORTEST = 4;
const STEP = 0.01;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const TOLERANCE = 0.005;

export class Lines {
  /**
   * @param {Viewer} viewer
   * @param {import("./gestures.js").Gestures} gestures
   * @param {HTMLElement} pane
   * @param {() => Scale} scale of the image that is shown
   */
  constructor(viewer, gestures, pane, scale) {
    this.viewer = viewer;
    this.svg = find(pane, ".lines", /** @type {any} */ (SVGElement));
    this.scale = scale;
    this.isDrawing = false;
    gestures.tools.length = {
      begin: (at) => this.begin(at),
      drag: (at) => this.changeLast(({ from }) => ({ from, to: viewer.shareAt(at) })),
      end: () => this.end(),
      key: (event) => this.press(event),
    };
  }

  get last() {
    return this.viewer.state.lines.at(-1);
  }

  /** @param {Point} at */
  begin(at) {
    const share = this.viewer.shareAt(at);
    this.add(share, share);
  }

  /**
   * @param {Point} from
   * @param {Point} to
   */
  add(from, to) {
    this.viewer.remember("line");
    this.viewer.set({ lines: [...this.viewer.state.lines, { from, to }] });
  }

  /** @param {(line: { from: Point, to: Point }) => { from: Point, to: Point }} change */
  changeLast(change) {
    const { last } = this;
    if (last) this.viewer.set({ lines: [...this.viewer.state.lines.slice(0, -1), change(last)] });
  }

  end() {
    const { last, viewer } = this;
    if (!last) return;
    const [from, to] = [last.from, last.to].map((share) => viewer.placeOf(share));
    if (Math.hypot(to.x - from.x, to.y - from.y) < SHORTEST) viewer.undo();
    else announce(texts.length(this.textOf(last)));
  }

  /**
   * Enter begins a line in the middle; arrows move its end, Shift and arrows its beginning; Delete removes it.
   *
   * @param {KeyboardEvent} event
   */
  press({ key, shiftKey }) {
    const step = ARROWS[key];
    if (key === "Enter") {
      const { clientWidth: width, clientHeight: height } = this.viewer.stage;
      const [from, to] = [0.4, 0.6].map((share) => this.viewer.shareAt({ x: share * width, y: height / 2 }));
      this.add(from, to);
    } else if (key === "Delete" || key === "Backspace") {
      this.viewer.remember("line");
      this.viewer.set({ lines: this.viewer.state.lines.slice(0, -1) });
    } else if (step && this.last) {
      this.viewer.remember("line end");
      this.changeLast(({ from, to }) => (shiftKey ? { from: moved(from, step), to } : { from, to: moved(to, step) }));
    } else {
      return false;
    }
    if (this.last) announce(texts.length(this.textOf(this.last)));
    return true;
  }

  /** @param {{ from: Point, to: Point }} line */
  textOf({ from, to }) {
    const { columns, rows } = this.viewer.size;
    const pixels = Math.hypot((to.x - from.x) * columns, (to.y - from.y) * rows);
    const { calibration, area } = this.scale();
    // The pixels of the picture are square, so its area tells the length of their sides.
    return calibration === "uncalibrated"
      ? texts.uncalibrated(Math.hypot((to.x - from.x) * columns, (to.y - from.y) * rows))
      : texts.millimetres(pixels * Math.sqrt(area / (columns * rows)), calibration === "calibrated");
  }

  draw() {
    const { lines } = this.viewer.state;
    if (!lines.length && !this.svg.childElementCount) return;
    const elements = lines.flatMap((line) => {
      const [from, to] = [this.viewer.placeOf(line.from), this.viewer.placeOf(line.to)];
      const ends = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
      const place = { x: Math.max(from.x, to.x) + 6, y: (from.y + to.y) / 2 };
      return [
        svgElement("line", { ...ends, class: "edge" }),
        svgElement("line", ends),
        svgElement("text", { ...place, class: "edge" }, this.textOf(line)),
        svgElement("text", place, this.textOf(line)),
      ];
    });
    this.svg.replaceChildren(...elements);
  }
}

/**
 * What the spacings of an image say of lengths (PS3.3 10.7.1.3).
 *
 * Pixel Spacing that differs from Imager Pixel Spacing was calibrated for the patient. Otherwise the length is that on
 * the detector, where everything is a little larger than in the patient.
 *
 * @param {DOMStringMap} image rows, columns and the spacings, as DS pairs
 * @returns {Scale}
 */
export function scaleOf({ rows, columns, pixelSpacing, imagerSpacing, scannedSpacing }) {
  const pixel = pair(pixelSpacing);
  const imager = pair(imagerSpacing);
  const spacing = pixel ?? imager ?? pair(scannedSpacing);
  if (!spacing) return { calibration: "uncalibrated", area: 0 };
  const area = Number(rows) * spacing[0] * Number(columns) * spacing[1];
  const isCalibrated = pixel && imager && Math.abs(pixel[0] / imager[0] - 1) > TOLERANCE;
  return { calibration: isCalibrated ? "calibrated" : "at-detector", area };
}

/** @param {string | undefined} text */
function pair(text) {
  const values = (text ?? "").split("\\").map(Number);
  return values.length === 2 && values.every((value) => value > 1e-9 && value < 1e9) ? values : null;
}

/**
 * @param {Point} point
 * @param {[number, number]} step
 */
function moved({ x, y }, [dx, dy]) {
  return { x: Math.min(Math.max(x + dx, 0), 1), y: Math.min(Math.max(y + dy, 0), 1) };
}
