// Zoom, pan, brightness and contrast. The plate is transformed; the film and the overlay are fixed to it.
import { byId } from "./page.js";

const MAX_ZOOM = 12;
/** @type {Record<string, [number, number]>} */
const STEPS = { ArrowLeft: [48, 0], ArrowRight: [-48, 0], ArrowUp: [0, 48], ArrowDown: [0, -48] };

export class Viewer {
  constructor() {
    this.stage = byId("stage");
    this.plate = byId("plate");
    this.film = byId("film");
    this.brightness = byId("brightness", HTMLInputElement);
    this.contrast = byId("contrast", HTMLInputElement);
    /** @type {Map<number, PointerEvent>} */
    this.pointers = new Map();
    this.zoom = 1;
    this.x = 0;
    this.y = 0;
    this.inverted = false;
    this.reset();
    this.listen();
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, inverted: false });
    this.brightness.value = "100";
    this.contrast.value = "100";
    this.draw();
  }

  draw() {
    this.plate.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    const inversion = this.inverted ? "invert(1) " : "";
    this.film.style.filter = `${inversion}brightness(${this.brightness.value}%) contrast(${this.contrast.value}%)`;
  }

  invert() {
    this.inverted = !this.inverted;
    this.draw();
    return this.inverted;
  }

  /**
   * Zoom around a point of the window, or else around the middle of the stage.
   *
   * @param {number} factor
   * @param {number} [clientX]
   * @param {number} [clientY]
   */
  zoomBy(factor, clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const px = (clientX ?? box.left + box.width / 2) - box.left;
    const py = (clientY ?? box.top + box.height / 2) - box.top;
    const zoom = Math.min(Math.max(this.zoom * factor, 1), MAX_ZOOM);
    const ratio = zoom / this.zoom;
    this.x = px - (px - this.x) * ratio;
    this.y = py - (py - this.y) * ratio;
    this.zoom = zoom;
    this.keepInView(box);
    this.draw();
  }

  /**
   * @param {number} dx
   * @param {number} dy
   */
  moveBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.keepInView(this.stage.getBoundingClientRect());
    this.draw();
  }

  /** @param {DOMRect} box */
  keepInView(box) {
    this.x = Math.min(0, Math.max(this.x, box.width * (1 - this.zoom)));
    this.y = Math.min(0, Math.max(this.y, box.height * (1 - this.zoom)));
  }

  listen() {
    const { stage } = this;
    const zoomByWheel = (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX, event.clientY);
    };
    stage.addEventListener("wheel", zoomByWheel, { passive: false });
    stage.addEventListener("dblclick", (event) => {
      if (this.zoom > 1) this.reset();
      else this.zoomBy(2.5, event.clientX, event.clientY);
    });
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    stage.addEventListener("pointermove", (event) => this.drag(event));
    stage.addEventListener("pointerup", (event) => this.pointers.delete(event.pointerId));
    stage.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    stage.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      this.moveBy(...step);
    });
    for (const slider of [this.brightness, this.contrast]) slider.addEventListener("input", () => this.draw());
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.pointers.values()].find((each) => each.pointerId !== event.pointerId);
    if (other) {
      const [middleX, middleY] = [(event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2];
      this.zoomBy(distance(event, other) / distance(before, other), middleX, middleY);
    } else {
      this.moveBy(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    this.pointers.set(event.pointerId, event);
  }
}

/**
 * @param {PointerEvent} one
 * @param {PointerEvent} other
 */
function distance(one, other) {
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
}
