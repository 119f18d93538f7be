// Zoom, pan, brightness and contrast. The plate is transformed; the film and the overlay are fixed to it.
import { byId } from "./page.js";

const MAX_ZOOM = 12;

export class Viewer {
  constructor() {
    this.stage = byId("stage");
    this.plate = byId("plate");
    this.film = byId("film");
    this.pointers = new Map();
    this.inverted = false;
    this.reset();
    this.listen();
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
    this.inverted = false;
    byId("brightness").value = byId("contrast").value = 100;
    this.draw();
  }

  draw() {
    this.plate.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    const inversion = this.inverted ? "invert(1) " : "";
    this.film.style.filter = `${inversion}brightness(${byId("brightness").value}%) contrast(${byId("contrast").value}%)`;
  }

  invert() {
    this.inverted = !this.inverted;
    this.draw();
    return this.inverted;
  }

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

  moveBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.keepInView(this.stage.getBoundingClientRect());
    this.draw();
  }

  keepInView(box) {
    this.x = Math.min(0, Math.max(this.x, box.width * (1 - this.zoom)));
    this.y = Math.min(0, Math.max(this.y, box.height * (1 - this.zoom)));
  }

  listen() {
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX, event.clientY);
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) => {
      if (this.zoom > 1) this.reset(); else this.zoomBy(2.5, event.clientX, event.clientY);
    });
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    this.stage.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [48, 0], ArrowRight: [-48, 0], ArrowUp: [0, 48], ArrowDown: [0, -48] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.moveBy(...step);
    });
    for (const id of ["brightness", "contrast"]) byId(id).addEventListener("input", () => this.draw());
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) {
      const other = [...this.pointers.values()].find((each) => each.pointerId !== event.pointerId);
      const span = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
      this.zoomBy(span(event, other) / span(before, other),
        (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else {
      this.moveBy(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    this.pointers.set(event.pointerId, event);
  }
}
