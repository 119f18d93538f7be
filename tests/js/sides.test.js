import assert from "node:assert/strict";
import { test } from "node:test";
import { edgesOf, turnedEdges } from "../../static/js/sides.js";

const upright = ["H", "L", "F", "R"];
const unknown = ["", "", "", ""];

test("a frontal image is opened upright, whichever way it is stored", () => {
  for (const orientation of ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "h\\r "])
    assert.deepEqual(edgesOf(orientation, "PA"), upright, orientation);
});

test("other images are opened as they are stored", () => {
  assert.deepEqual(edgesOf("A\\F", "LL"), ["H", "A", "F", "P"]);
  assert.deepEqual(edgesOf("LA\\FP", ""), ["HA", "LA", "FP", "RP"]);
});

test("nothing is claimed that the file does not say", () => {
  for (const [orientation, view] of [
    ["", "PA"],
    ["L", "PA"],
    ["L\\R", "PA"],
    ["A\\F", "PA"],
    ["X\\F", ""],
    ["L\\", ""],
  ])
    assert.deepEqual(edgesOf(orientation, view), unknown, orientation);
});

test("the sides turn with the film, which is mirrored first", () => {
  assert.deepEqual(turnedEdges(upright, 1, false), ["R", "H", "L", "F"]);
  assert.deepEqual(turnedEdges(upright, 2, false), ["F", "R", "H", "L"]);
  assert.deepEqual(turnedEdges(upright, 0, true), ["H", "R", "F", "L"]);
  assert.deepEqual(turnedEdges(upright, 1, true), ["L", "H", "R", "F"]);
});
