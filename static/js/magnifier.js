// A lens over the film: the pixels of the image below the pointer, larger.
import { find } from "./page.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("./viewer.js").Point} Point */

const SIZE = 224;
const FACTOR = 2.5;
const STEP = 24;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

export class Magnifier {
  /**
   * @param {Viewer} viewer
   * @param {import("./gestures.js").Gestures} gestures
   * @param {HTMLElement} pane
   */
  constructor(viewer, gestures, pane) {
    this.viewer = viewer;
    this.lens = find(pane, ".lens", HTMLCanvasElement);
    this.lens.width = SIZE;
    this.lens.height = SIZE;
    /** @type {Point | null} */
    this.at = null;
    gestures.tools.magnifier = {
      begin: (at) => this.show(at),
      drag: (at) => this.show(at),
      end: () => this.hide(),
      key: (event) => this.press(event),
    };
  }

  /** @param {Point} at */
  show(at) {
    this.at = at;
    this.lens.hidden = false;
    this.draw();
  }

  hide() {
    this.at = null;
    this.lens.hidden = true;
  }

  /**
   * Arrows move the lens, Escape takes it away.
   *
   * @param {KeyboardEvent} event
   */
  press({ key }) {
    const step = ARROWS[key];
    if (key === "Escape") this.hide();
    if (!step) return key === "Escape";
    const { clientWidth, clientHeight } = this.viewer.stage;
    const { x, y } = this.at ?? { x: clientWidth / 2, y: clientHeight / 2 };
    this.show({
      x: Math.min(Math.max(x + step[0], 0), clientWidth),
      y: Math.min(Math.max(y + step[1], 0), clientHeight),
    });
    return true;
  }

  draw() {
    const { at, lens, viewer } = this;
    const context = lens.getContext("2d");
    if (!at || !context) return;
    lens.style.left = `${at.x - SIZE / 2}px`;
    lens.style.top = `${at.y - SIZE / 2}px`;
    const matrix = new DOMMatrix()
      .translate(SIZE / 2, SIZE / 2)
      .scale(FACTOR)
      .translate(-at.x, -at.y)
      .multiply(viewer.matrix());
    context.setTransform(new DOMMatrix());
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIZE, SIZE);
    context.setTransform(matrix);
    if (!viewer.picture) {
      context.filter = viewer.film.style.filter;
      context.drawImage(viewer.film, 0, 0);
      context.filter = "none";
      return;
    }
    const region = this.region(matrix.inverse());
    if (region) context.drawImage(region.canvas, region.left, region.top);
  }

  /**
   * The pixels that the lens covers, through the window in force.
   *
   * @param {DOMMatrix} back from places of the lens to pixels of the picture
   */
  region(back) {
    const { picture, window, state } = this.viewer;
    if (!picture || !window) return null;
    const corners = [0, SIZE].flatMap((x) => [0, SIZE].map((y) => back.transformPoint({ x, y })));
    const [xs, ys] = [corners.map(({ x }) => x), corners.map(({ y }) => y)];
    const left = Math.max(0, Math.floor(Math.min(...xs)));
    const top = Math.max(0, Math.floor(Math.min(...ys)));
    const width = Math.min(picture.columns, Math.ceil(Math.max(...xs))) - left;
    const height = Math.min(picture.rows, Math.ceil(Math.max(...ys))) - top;
    if (width < 1 || height < 1) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const image = new ImageData(width, height);
    const isInverted = picture.isInverted !== state.isInverted;
    for (let row = 0, at = 0; row < height; row++) {
      for (let column = 0; column < width; column++, at += 4) {
        const value = picture.values[(top + row) * picture.columns + left + column];
        const shade = (255 * (value - window.lower)) / (window.upper - window.lower);
        image.data.fill(isInverted ? 255 - shade : shade, at, at + 3);
        image.data[at + 3] = 255;
      }
    }
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    return { canvas, left, top };
  }
}
