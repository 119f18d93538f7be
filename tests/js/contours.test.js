import assert from "node:assert/strict";
import { test } from "node:test";
import { contourPath } from "../../static/js/contours.js";

/** The box around a path: left, top, right, bottom. */
function bounds(path) {
  const places = path
    .split(/[ML]/)
    .filter(Boolean)
    .map((place) => place.split(" ").map(Number));
  const [xs, ys] = [places.map(([x]) => x), places.map(([, y]) => y)];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

test("the line goes halfway between what is above the level and what is below", () => {
  const values = [0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0];
  assert.deepEqual(bounds(contourPath({ rows: 3, columns: 4, values }, 100, 40, 30)), [20, 10, 30, 20]);
});

test("nothing above the level has no line; what reaches the edge is closed there", () => {
  assert.equal(contourPath({ rows: 2, columns: 2, values: [0, 1, 2, 3] }, 100, 10, 10), "");
  assert.deepEqual(bounds(contourPath({ rows: 1, columns: 2, values: [255, 255] }, 1, 20, 10)), [0, 0, 20, 10]);
});

test("two places that touch by a corner stay separate, and every line is closed", () => {
  const path = contourPath({ rows: 2, columns: 2, values: [255, 0, 0, 255] }, 128, 20, 20);
  const ends = path.split(/[ML]/).filter(Boolean);
  for (const end of ends) assert.equal(ends.filter((other) => other === end).length % 2, 0, end);
});
