// Boxes on the film: those of the reader's findings, and the one that is being drawn, by pointer or by arrow keys.
import { byId } from "./page.js";

/** @typedef {{ x: number, y: number, width: number, height: number }} Rectangle as shares of the film, 0 to 1 */

const STEP = 0.02;
const SMALLEST = 0.01;
/** @type {Rectangle} */
const MIDDLE = { x: 0.4, y: 0.4, width: 0.2, height: 0.2 };
/** @type {Record<string, [number, number]>} */
const STEPS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

export class Box {
  /**
   * @param {{ changed: () => void, ended: (isKept: boolean) => void }} on what the page does when the box changes
   * @param {(at: { x: number, y: number }) => { x: number, y: number }} shareAt what lies at a place of the stage
   */
  constructor(on, shareAt) {
    this.on = on;
    this.shareAt = shareAt;
    this.stage = byId("stage");
    this.plate = byId("plate");
    this.film = byId("film", HTMLImageElement);
    this.element = byId("box");
    /** @type {Rectangle | null} */
    this.rectangle = null;
    this.isDrawing = false;
    /** @type {{ x: number, y: number } | null} */
    this.corner = null;
    /** @type {Map<HTMLElement, Rectangle>} */
    this.others = new Map();
    this.element.addEventListener("keydown", (event) => this.press(event));
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      this.stage.addEventListener(kind, (event) => this.point(/** @type {PointerEvent} */ (event)), { capture: true });
    this.film.addEventListener("load", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }

  /** Begin: a box in the middle has the focus, and a pointer draws another one. */
  start() {
    this.isDrawing = true;
    this.stage.classList.add("is-drawing");
    this.set(this.rectangle ?? MIDDLE);
    this.element.focus();
  }

  /** @param {boolean} isKept */
  end(isKept) {
    this.isDrawing = false;
    this.corner = null;
    this.stage.classList.remove("is-drawing");
    if (!isKept) this.set(null);
    this.on.ended(isKept);
  }

  /** @param {Rectangle | null} rectangle */
  set(rectangle) {
    this.rectangle = rectangle && within(rectangle);
    this.draw();
    this.on.changed();
  }

  /**
   * The box in pixels of the stored image, as "x,y,width,height"; "" where there is none.
   *
   * @param {number} columns
   * @param {number} rows
   */
  pixels(columns, rows) {
    if (!this.rectangle) return "";
    const { x, y, width, height } = this.rectangle;
    const [left, top] = [Math.round(x * columns), Math.round(y * rows)];
    const [right, bottom] = [Math.round((x + width) * columns), Math.round((y + height) * rows)];
    return [left, top, Math.max(1, right - left), Math.max(1, bottom - top)].join(",");
  }

  /**
   * Show the boxes of the reader's findings on the image that is shown.
   *
   * @param {{ name: string, box: string, columns: number, rows: number }[]} boxes in pixels, as above
   */
  showOthers(boxes) {
    for (const element of this.others.keys()) element.remove();
    this.others.clear();
    for (const { name, box, columns, rows } of boxes) {
      const [x, y, width, height] = box.split(",").map(Number);
      const element = document.createElement("div");
      element.className = "reader-box";
      element.append(Object.assign(document.createElement("span"), { textContent: name }));
      this.plate.append(element);
      this.others.set(element, { x: x / columns, y: y / rows, width: width / columns, height: height / rows });
    }
    this.draw();
  }

  draw() {
    this.element.hidden = !this.rectangle;
    if (this.rectangle) this.place(this.element, this.rectangle);
    for (const [element, rectangle] of this.others) this.place(element, rectangle);
  }

  /**
   * @param {HTMLElement} element
   * @param {Rectangle} rectangle
   */
  place(element, { x, y, width, height }) {
    const { left, top, scaleX, scaleY } = inside(this.film, this.plate.offsetWidth, this.plate.offsetHeight);
    const { style } = element;
    style.left = `${left + x * scaleX}px`;
    style.top = `${top + y * scaleY}px`;
    style.width = `${width * scaleX}px`;
    style.height = `${height * scaleY}px`;
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const { key, shiftKey } = event;
    const step = STEPS[key];
    if (!step && key !== "Enter" && key !== "Escape" && key !== "Delete") return;
    event.preventDefault();
    // The film does not move with the box.
    event.stopPropagation();
    if (!step) this.end(key === "Enter");
    else if (this.rectangle) this.set(moved(this.rectangle, step, shiftKey));
  }

  /** @param {PointerEvent} event */
  point(event) {
    if (!this.isDrawing) return;
    event.stopImmediatePropagation();
    const at = this.shareOf(event);
    if (event.type === "pointerdown") {
      event.preventDefault();
      this.corner = at;
      this.stage.setPointerCapture(event.pointerId);
    } else if (this.corner && event.type === "pointermove") {
      this.set(between(this.corner, at));
    } else if (this.corner && event.type === "pointerup") {
      this.end(true);
    } else if (event.type === "pointercancel") {
      this.corner = null;
    }
  }

  /** @param {PointerEvent} event */
  shareOf({ clientX, clientY }) {
    const stage = this.stage.getBoundingClientRect();
    return this.shareAt({ x: clientX - stage.left, y: clientY - stage.top });
  }
}

/**
 * Where the film lies in a plate of this size: it fills the plate as far as its proportions allow.
 *
 * @param {HTMLImageElement} film
 * @param {number} width
 * @param {number} height
 */
function inside(film, width, height) {
  const { naturalWidth: columns, naturalHeight: rows } = film;
  const scale = columns && rows ? Math.min(width / columns, height / rows) : 1;
  const [scaleX, scaleY] = [columns * scale, rows * scale];
  return { left: (width - scaleX) / 2, top: (height - scaleY) / 2, scaleX, scaleY };
}

/**
 * @param {Rectangle} rectangle
 * @param {[number, number]} step
 * @param {boolean} isResized
 */
function moved({ x, y, width, height }, [dx, dy], isResized) {
  if (isResized) return { x, y, width: width + dx, height: height + dy };
  return {
    x: Math.min(Math.max(x + dx, 0), 1 - width),
    y: Math.min(Math.max(y + dy, 0), 1 - height),
    width,
    height,
  };
}

/**
 * @param {{ x: number, y: number }} one
 * @param {{ x: number, y: number }} other
 */
function between(one, other) {
  const [x, y] = [Math.max(0, Math.min(one.x, other.x)), Math.max(0, Math.min(one.y, other.y))];
  return { x, y, width: Math.max(one.x, other.x) - x, height: Math.max(one.y, other.y) - y };
}

/** @param {Rectangle} rectangle */
function within({ x, y, width, height }) {
  const [left, top] = [x, y].map((value) => Math.min(Math.max(value, 0), 1 - SMALLEST));
  return {
    x: left,
    y: top,
    width: Math.min(Math.max(width, SMALLEST), 1 - left),
    height: Math.min(Math.max(height, SMALLEST), 1 - top),
  };
}
