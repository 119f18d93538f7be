// What pointers, the wheel and the arrow keys do on a stage: they zoom the film, or use the tool that is in the hand.

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("./viewer.js").Point} Point */
/**
 * @typedef {object} Tool what a drag with a tool does; `at` is a place in pixels of the stage
 * @property {(at: Point) => void} [begin]
 * @property {(at: Point, before: Point) => void} drag
 * @property {() => void} [end]
 * @property {(event: KeyboardEvent) => boolean} [key] whether it did what the key says
 */

const RIGHT_BUTTON = 2;
const ARROW_PIXELS = 48;
const WINDOW_PIXELS = 20;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class Gestures {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    this.stage = viewer.stage;
    this.tool = "move";
    /** @type {Record<string, Tool>} */
    this.tools = {
      move: {
        drag: (at, before) => viewer.moveBy(at.x - before.x, at.y - before.y),
        key: (event) => this.step(event, ARROW_PIXELS, (dx, dy) => viewer.moveBy(dx, dy)),
      },
      window: {
        drag: (at, before) => viewer.adjust(at.x - before.x, at.y - before.y),
        key: (event) => this.step(event, -WINDOW_PIXELS, (dx, dy) => viewer.adjust(dx, dy)),
      },
    };
    /** The tool that the drag of now uses. */
    this.used = "";
    /** @type {Map<number, Point>} */
    this.pointers = new Map();
    this.listen();
  }

  listen() {
    const { stage, viewer } = this;
    const zoomByWheel = (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      viewer.zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX, event.clientY);
    };
    stage.addEventListener("wheel", zoomByWheel, { passive: false });
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("dblclick", (event) => {
      if (this.tool !== "move") return;
      if (viewer.state.zoom > 1) viewer.reset();
      else viewer.zoomBy(2.5, event.clientX, event.clientY);
    });
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.drag(event));
    stage.addEventListener("pointerup", (event) => this.release(event));
    stage.addEventListener("pointercancel", (event) => this.release(event));
    stage.addEventListener("keydown", (event) => {
      if (event.target === stage && this.tools[this.tool]?.key?.(event)) event.preventDefault();
    });
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} pixels
   * @param {(dx: number, dy: number) => void} change
   */
  step({ key }, pixels, change) {
    const arrow = ARROWS[key];
    if (arrow) change(pixels * arrow[0], pixels * arrow[1]);
    return arrow !== undefined;
  }

  /** @param {PointerEvent} event */
  press(event) {
    this.stage.setPointerCapture(event.pointerId);
    const at = this.placeOf(event);
    this.pointers.set(event.pointerId, at);
    // Each drag is a step of its own for an undo.
    this.viewer.beginStep();
    if (this.pointers.size > 1) return;
    this.used = event.button === RIGHT_BUTTON ? "window" : this.tool;
    this.tools[this.used]?.begin?.(at);
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const at = this.placeOf(event);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const box = this.stage.getBoundingClientRect();
      const [middleX, middleY] = [box.left + (at.x + other.x) / 2, box.top + (at.y + other.y) / 2];
      this.viewer.zoomBy(distance(at, other) / distance(before, other), middleX, middleY);
    } else {
      this.tools[this.used]?.drag(at, before);
    }
    this.pointers.set(event.pointerId, at);
  }

  /** @param {PointerEvent} event */
  release({ pointerId }) {
    if (!this.pointers.delete(pointerId) || this.pointers.size) return;
    this.tools[this.used]?.end?.();
    this.used = "";
  }

  /** @param {PointerEvent} event */
  placeOf({ clientX, clientY }) {
    const box = this.stage.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top };
  }
}

/**
 * @param {Point} one
 * @param {Point} other
 */
function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y) || 1;
}
