import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { FilmTools } from "../../static/js/film_tools.js";
import { Gestures } from "../../static/js/gestures.js";
import { byId } from "../../static/js/page.js";
import { Viewer } from "../../static/js/viewer.js";

let viewer;
let tools;
let stage;

beforeEach(() => {
  document.body.innerHTML = `<p id="announce"></p><section><div id="stage" class="stage"><div id="plate" class="plate">
    <img id="film" class="film"></div></div></section><div id="tools">
    <button data-action="invert"></button><button data-action="mirror"></button><button data-tool="window"></button>
    <input id="brightness" type="range" min="40" max="200"><input id="contrast" type="range" min="50" max="300">
    <select id="preset"></select><input id="level" type="range"><input id="width" type="range">
    <output id="window-values"></output></div>`;
  stage = byId("stage");
  stage.getBoundingClientRect = () => ({ left: 100, top: 50, width: 400, height: 200 });
  stage.setPointerCapture = () => {};
  Object.defineProperties(stage, { clientWidth: { value: 400 }, clientHeight: { value: 200 } });
  viewer = new Viewer(document.body);
  tools = new FilmTools(viewer, new Gestures(viewer));
  viewer.changed = () => tools.update();
});

const place = () => [viewer.state.zoom, viewer.state.x, viewer.state.y].map((value) => Math.round(100 * value) / 100);
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
  assert.equal(viewer.state.zoom, 12);
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
  assert.equal(viewer.state.zoom, 4);
  pointer("pointerup", 2, 390, 130);
  pointer("pointercancel", 1, 190, 130);
  pointer("pointermove", 1, 0, 0);
  assert.equal(viewer.state.zoom, 4);
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

/** A picture of 400 by 200 pixels, which fills the stage. */
function picture(isInverted = false) {
  const presets = [
    { name: "file", explanation: "", window: { lower: 0, upper: 1000 } },
    { name: "lungs", explanation: "", window: { lower: 0, upper: 600 } },
  ];
  const range = { lower: 0, upper: 2000 };
  return { rows: 200, columns: 400, isInverted, presets, range, draw() {}, resize() {}, close() {} };
}

test("a film is turned and mirrored as it lies, and steps are undone one by one", () => {
  viewer.setPicture(picture());
  tools.actions.turn();
  assert.match(viewer.transform(), /rotate\(90deg\) scale\(0.5, 0.5\)/);
  tools.actions.mirror();
  assert.deepEqual([viewer.state.turns, viewer.state.isMirrored], [3, true]);
  tools.actions.undo();
  assert.deepEqual([viewer.state.turns, viewer.state.isMirrored], [1, false]);
  tools.actions.undo();
  tools.actions.undo();
  assert.equal(viewer.state.turns, 0);
  assert.equal(byId("announce").textContent, "Nothing to undo");
});

test("a drag is one step, and the window of the file comes back", () => {
  viewer.setPicture(picture());
  tools.choose("window");
  pointer("pointerdown", 1, 200, 100);
  for (const x of [210, 220, 230]) pointer("pointermove", 1, x, 100);
  pointer("pointerup", 1, 230, 100);
  assert.deepEqual(viewer.window, { lower: -30, upper: 1030 });
  tools.actions["next-preset"]();
  viewer.undo();
  assert.deepEqual(viewer.window, { lower: -30, upper: 1030 });
  viewer.undo();
  assert.deepEqual(viewer.window, { lower: 0, upper: 1000 });
  assert.equal(byId("preset").value, "0");
});

test("a drag down makes the film darker, whether high values are bright or dark", () => {
  for (const isInverted of [false, true]) {
    viewer.setPicture(picture(isInverted));
    viewer.adjust(0, 50);
    const centre = (viewer.window.lower + viewer.window.upper) / 2;
    assert.equal(centre > 500, !isInverted);
  }
});

test("while another film loads, the stage is marked: what it shows is the former film", () => {
  for (const outcome of ["load", "error"]) {
    viewer.open("/film.png?image=2");
    assert.ok(stage.classList.contains("is-loading"));
    byId("film").dispatchEvent(new Event(outcome));
    assert.equal(stage.classList.contains("is-loading"), false);
  }
});
