import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { byId } from "../../static/js/page.js";
import { Viewer } from "../../static/js/viewer.js";

let viewer;
let stage;

beforeEach(() => {
  document.body.innerHTML = `<div id="stage"><div id="plate"><img id="film"></div></div>
    <input id="brightness" type="range" min="40" max="200"><input id="contrast" type="range" min="50" max="300">`;
  stage = byId("stage");
  stage.getBoundingClientRect = () => ({ left: 100, top: 50, width: 400, height: 200 });
  stage.setPointerCapture = () => {};
  viewer = new Viewer();
});

const place = () => [viewer.zoom, viewer.x, viewer.y].map((value) => Math.round(100 * value) / 100);
const press = (key) => stage.dispatchEvent(new KeyboardEvent("keydown", { key }));

function pointer(kind, pointerId, clientX, clientY) {
  stage.dispatchEvent(new PointerEvent(kind, { pointerId, clientX, clientY }));
}

test("zooming keeps the point under the pointer, or else the middle, in its place", () => {
  viewer.zoomBy(2);
  assert.deepEqual(place(), [2, -200, -100]);
  viewer.reset();
  viewer.zoomBy(2, 200, 150);
  assert.deepEqual(place(), [2, -100, -100]);
  assert.equal(byId("plate").style.transform, "translate(-100px, -100px) scale(2)");
});

test("the film never leaves the stage, and zooming has bounds", () => {
  viewer.zoomBy(0.1);
  assert.deepEqual(place(), [1, 0, 0]);
  viewer.moveBy(50, 50);
  assert.deepEqual(place(), [1, 0, 0]);
  viewer.zoomBy(1000);
  assert.equal(viewer.zoom, 12);
  viewer.moveBy(-1e6, -1e6);
  assert.deepEqual(place(), [12, -4400, -2200]);
});

test("arrow keys and one pointer move the film; two pointers zoom", () => {
  viewer.zoomBy(2);
  press("ArrowLeft");
  press("ArrowDown");
  press("x");
  assert.deepEqual(place(), [2, -152, -148]);

  viewer.reset();
  viewer.zoomBy(2);
  pointer("pointermove", 1, 0, 0);
  pointer("pointerdown", 1, 200, 150);
  pointer("pointermove", 1, 190, 130);
  assert.deepEqual(place(), [2, -210, -120]);
  pointer("pointerdown", 2, 290, 130);
  pointer("pointermove", 2, 390, 130);
  assert.equal(viewer.zoom, 4);
  pointer("pointerup", 2, 390, 130);
  pointer("pointercancel", 1, 190, 130);
  pointer("pointermove", 1, 0, 0);
  assert.equal(viewer.zoom, 4);
});

test("brightness, contrast and inversion change the film until they are reset", () => {
  const { style } = byId("film");
  byId("brightness").value = "150";
  byId("brightness").dispatchEvent(new Event("input"));
  assert.equal(style.filter, "brightness(150%) contrast(100%)");
  assert.equal(viewer.invert(), true);
  assert.equal(style.filter, "invert(1) brightness(150%) contrast(100%)");
  viewer.reset();
  assert.equal(style.filter, "brightness(100%) contrast(100%)");
});
