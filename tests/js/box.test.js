import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Box } from "../../static/js/box.js";
import { byId } from "../../static/js/page.js";

globalThis.ResizeObserver ??= class {
  observe() {}
};
let box;
let ended;

beforeEach(() => {
  document.body.innerHTML = `<div id="stage" tabindex="0"><div id="plate"><img id="film"><div id="box" tabindex="0"></div></div></div>`;
  // A film of 1000 x 500 in a plate of 400 x 400: 100 above and below stay empty.
  const size = { naturalWidth: 1000, naturalHeight: 500 };
  for (const [name, value] of Object.entries(size)) Object.defineProperty(byId("film"), name, { value });
  for (const name of ["offsetWidth", "offsetHeight"]) Object.defineProperty(byId("plate"), name, { value: 400 });
  byId("stage").getBoundingClientRect = () => ({ left: 10, top: 20, width: 400, height: 400 });
  byId("stage").setPointerCapture = () => {};
  ended = [];
  const shareAt = ({ x, y }) => ({ x: x / 400, y: (y - 100) / 200 });
  box = new Box({ changed: () => {}, ended: (isKept) => ended.push(isKept) }, shareAt);
});

const press = (key, more = {}) =>
  byId("box").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
const point = (kind, clientX, clientY) =>
  byId("stage").dispatchEvent(new PointerEvent(kind, { pointerId: 1, clientX, clientY, bubbles: true }));

test("a pointer draws a box, in pixels of the stored image, that stays on the film", () => {
  point("pointerdown", 110, 170);
  assert.equal(box.rectangle, null, "nothing is drawn before the reader asks for it");
  box.start();
  point("pointerdown", 210, 220);
  point("pointermove", 110, 170);
  assert.equal(box.pixels(2000, 1000), "500,250,500,250");
  point("pointermove", 1000, 1000);
  assert.equal(box.pixels(2000, 1000), "1000,500,1000,500");
  point("pointerup", 1000, 1000);
  assert.deepEqual(ended, [true]);
  point("pointermove", 0, 0);
  assert.equal(box.pixels(2000, 1000), "1000,500,1000,500");
  const { left, top, width, height } = byId("box").style;
  assert.deepEqual([left, top, width, height], ["200px", "200px", "200px", "100px"]);
});

test("arrow keys move the box, with Shift they resize it; Enter keeps it and Escape removes it", () => {
  let isFilmMoved = false;
  byId("stage").addEventListener("keydown", () => {
    isFilmMoved = true;
  });
  box.start();
  assert.equal(document.activeElement, byId("box"));
  assert.equal(box.pixels(1000, 500), "400,200,200,100");
  press("ArrowRight");
  press("ArrowUp");
  press("ArrowRight", { shiftKey: true });
  press("ArrowDown", { shiftKey: true });
  assert.equal(box.pixels(1000, 500), "420,190,220,110");
  for (let step = 0; step < 60; step += 1) press("ArrowRight");
  assert.equal(box.pixels(1000, 500), "780,190,220,110");
  assert.equal(isFilmMoved, false);
  press("Enter");
  assert.equal(box.pixels(1000, 500), "780,190,220,110");
  box.start();
  press("Escape");
  assert.equal(box.pixels(1000, 500), "");
  assert.deepEqual(ended, [true, false]);
});

test("the boxes of the reader's findings lie where they were drawn", () => {
  box.showOthers([{ name: "Nodule", box: "500,250,250,125", columns: 1000, rows: 500 }]);
  const [shown] = document.querySelectorAll(".reader-box");
  assert.equal(shown.textContent, "Nodule");
  assert.deepEqual([shown.style.left, shown.style.top, shown.style.width], ["200px", "200px", "100px"]);
  box.showOthers([]);
  assert.equal(document.querySelector(".reader-box"), null);
});
