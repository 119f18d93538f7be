// How a film lies on its stage and what it looks like: zoom, pan, turn, mirror and window. The plate is transformed; the
// server's picture, overlays and boxes are fixed to it, and the full-depth picture follows.
import { find } from "./page.js";

/** @typedef {{ lower: number, upper: number }} Window the values that are shown black and white */
/**
 * @typedef {object} Picture a picture with the bit depth of the file (viewer/index.js)
 * @property {number} rows
 * @property {number} columns
 * @property {boolean} isInverted
 * @property {ArrayLike<number>} values
 * @property {{ name: string, explanation: string, window: Window }[]} presets
 * @property {Window} range
 * @property {(matrix: DOMMatrix, window: Window, isInverted: boolean) => void} draw
 * @property {() => void} resize
 * @property {() => void} close
 */
/** @typedef {{ x: number, y: number }} Point */

const MAX_ZOOM = 12;
const MOST_STEPS = 100;
/** Steps of the same kind that follow each other faster are undone together. */
const SAME_STEP_MS = 700;
const START = {
  zoom: 1,
  x: 0,
  y: 0,
  turns: 0,
  isMirrored: false,
  isInverted: false,
  brightness: 100,
  contrast: 100,
  window: /** @type {Window | null} */ (null),
  lines: /** @type {{ from: Point, to: Point }[]} */ ([]),
};

/** @typedef {typeof START} State `window` is null as long as it is that of the file; `lines` are in shares of the film */

export class Viewer {
  /** @param {HTMLElement} pane */
  constructor(pane) {
    this.stage = find(pane, ".stage");
    this.plate = find(pane, ".plate");
    this.film = find(pane, ".film", HTMLImageElement);
    /** Called after each change. @type {() => void} */
    this.changed = () => {};
    /** @type {State} */
    this.state = { ...START };
    /** @type {Picture | null} */
    this.picture = null;
    /** @type {State[]} */
    this.former = [];
    this.lastStep = { kind: "", at: 0 };
    this.isWaiting = false;
    new ResizeObserver(() => {
      this.picture?.resize();
      this.draw();
    }).observe(this.stage);
    for (const name of ["load", "error"])
      this.film.addEventListener(name, () => this.stage.classList.remove("is-loading"));
    this.draw();
  }

  /**
   * Show another film. The browser paints the former one until the new one is there, and the sides, names and lines are
   * already those of the new one: the stage stays empty meanwhile.
   *
   * @param {string} address of the server's picture
   */
  open(address) {
    this.stage.classList.add("is-loading");
    this.film.src = address;
  }

  /** @param {Picture | null} picture */
  setPicture(picture) {
    this.picture?.close();
    this.picture = picture;
    this.state.window = null;
    this.stage.classList.toggle("is-full", picture !== null);
    this.draw();
  }

  /** Rows and columns of the picture that is shown. */
  get size() {
    const { naturalWidth, naturalHeight } = this.film;
    const { columns, rows } = this.picture ?? { columns: naturalWidth, rows: naturalHeight };
    return { columns: columns || 1, rows: rows || 1 };
  }

  /** The window in force; null for the server's picture. */
  get window() {
    return this.state.window ?? this.picture?.presets[0].window ?? null;
  }

  /**
   * Keep the state for an undo.
   *
   * @param {string} kind of the change that follows
   */
  remember(kind) {
    const now = performance.now();
    const isSame = kind === this.lastStep.kind && now - this.lastStep.at < SAME_STEP_MS;
    this.lastStep = { kind, at: now };
    if (isSame) return;
    this.former.push(structuredClone(this.state));
    if (this.former.length > MOST_STEPS) this.former.shift();
  }

  /** What follows is a step of its own, even if it is of the same kind as the last one. */
  beginStep() {
    this.lastStep = { kind: "", at: 0 };
  }

  /** Whether there was a step to undo. */
  undo() {
    const state = this.former.pop();
    this.beginStep();
    if (state) this.set(state);
    return state !== undefined;
  }

  /** Show the film as it was opened. */
  reset() {
    this.remember("reset");
    this.set({ ...START });
  }

  /** Forget what was done to another film. */
  clear() {
    this.former = [];
    this.set({ ...START });
  }

  /** @param {Partial<State>} changes */
  set(changes) {
    Object.assign(this.state, changes);
    this.draw();
  }

  invert() {
    this.remember("invert");
    this.set({ isInverted: !this.state.isInverted });
    return this.state.isInverted;
  }

  /** Turn by 90 degrees clockwise. */
  turn() {
    this.remember("turn");
    const middle = (1 - this.state.zoom) / 2;
    const { clientWidth, clientHeight } = this.stage;
    this.set({ turns: (this.state.turns + 1) % 4, x: middle * clientWidth, y: middle * clientHeight });
  }

  /** Mirror left to right, as the film lies now. */
  mirror() {
    this.remember("mirror");
    const { turns, isMirrored, zoom, x } = this.state;
    this.set({ turns: (4 - turns) % 4, isMirrored: !isMirrored, x: this.stage.clientWidth * (1 - zoom) - x });
  }

  /**
   * Zoom around a point of the window, or else around the middle of the stage.
   *
   * @param {number} factor
   * @param {number} [clientX]
   * @param {number} [clientY]
   */
  zoomBy(factor, clientX, clientY) {
    this.remember("zoom");
    const box = this.stage.getBoundingClientRect();
    const px = (clientX ?? box.left + box.width / 2) - box.left;
    const py = (clientY ?? box.top + box.height / 2) - box.top;
    const zoom = Math.min(Math.max(this.state.zoom * factor, 1), MAX_ZOOM);
    const ratio = zoom / this.state.zoom;
    this.place(zoom, px - (px - this.state.x) * ratio, py - (py - this.state.y) * ratio);
  }

  /**
   * @param {number} dx
   * @param {number} dy
   */
  moveBy(dx, dy) {
    this.remember("move");
    this.place(this.state.zoom, this.state.x + dx, this.state.y + dy);
  }

  /**
   * @param {number} zoom
   * @param {number} x
   * @param {number} y
   */
  place(zoom, x, y) {
    const { clientWidth, clientHeight } = this.stage;
    this.set({
      zoom,
      x: Math.min(0, Math.max(x, clientWidth * (1 - zoom))),
      y: Math.min(0, Math.max(y, clientHeight * (1 - zoom))),
    });
  }

  /**
   * Change the window as a drag does: to the right for less contrast, up for a brighter film.
   *
   * @param {number} dx
   * @param {number} dy
   */
  adjust(dx, dy) {
    this.remember("window");
    const { picture, window } = this;
    if (!picture || !window) {
      const { brightness, contrast } = this.state;
      this.set({
        brightness: Math.min(Math.max(brightness - dy / 2, 40), 200),
        contrast: Math.min(Math.max(contrast - dx / 2, 50), 300),
      });
      return;
    }
    const first = picture.presets[0].window;
    const step = (first.upper - first.lower) / 500;
    const width = Math.max(window.upper - window.lower + dx * step, step / 4);
    const down = picture.isInverted ? -dy : dy;
    this.setWindow((window.upper + window.lower) / 2 + down * step, width);
  }

  /**
   * @param {number} centre
   * @param {number} width
   */
  setWindow(centre, width) {
    this.remember("window");
    this.set({ window: { lower: centre - width / 2, upper: centre + width / 2 } });
  }

  /** Where the plate lies on the stage. */
  transform() {
    const { zoom, x, y, turns, isMirrored } = this.state;
    const moved = `translate(${x}px, ${y}px) scale(${zoom})`;
    if (!turns && !isMirrored) return moved;
    const { clientWidth: width, clientHeight: height } = this.stage;
    const { columns, rows } = this.size;
    const upright = Math.min(width / columns, height / rows);
    const fit = turns % 2 ? Math.min(width / rows, height / columns) / upright : 1;
    const turned = `rotate(${90 * turns}deg) scale(${isMirrored ? -fit : fit}, ${fit})`;
    return `${moved} translate(${width / 2}px, ${height / 2}px) ${turned} translate(${-width / 2}px, ${-height / 2}px)`;
  }

  /** From pixels of the picture to those of the stage. */
  matrix() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const { columns, rows } = this.size;
    const scale = Math.min(width / columns, height / rows);
    const left = (width - columns * scale) / 2;
    const top = (height - rows * scale) / 2;
    return new DOMMatrix(this.transform()).translate(left, top).scale(scale);
  }

  /**
   * The place of the film, in shares of its sides, that lies at a place of the stage.
   *
   * @param {Point} at
   */
  shareAt(at) {
    const { x, y } = this.matrix().inverse().transformPoint(at);
    return { x: x / this.size.columns, y: y / this.size.rows };
  }

  /**
   * Where a place of the film lies on the stage.
   *
   * @param {Point} share
   */
  placeOf({ x, y }) {
    const { columns, rows } = this.size;
    return this.matrix().transformPoint({ x: x * columns, y: y * rows });
  }

  draw() {
    const { isInverted, isMirrored, turns, brightness, contrast } = this.state;
    this.plate.style.transform = this.transform();
    // Names stay readable on a turned plate.
    this.plate.style.setProperty("--upright", `scale(${isMirrored ? -1 : 1}, 1) rotate(${-90 * turns}deg)`);
    this.film.style.filter = `${isInverted ? "invert(1) " : ""}brightness(${brightness}%) contrast(${contrast}%)`;
    this.changed();
    if (this.isWaiting || !this.picture) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      const { picture, window } = this;
      if (!picture || !window || !this.stage.clientHeight) return;
      picture.draw(this.matrix(), window, picture.isInverted !== this.state.isInverted);
    });
  }
}
