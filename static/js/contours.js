// Contours of a map: lines of equal contribution, by marching squares.

/** @typedef {{ rows: number, columns: number, values: number[] }} Grid values 0 to 255, row by row */

// The edges of a cell that the line crosses, by which of its corners are above the level: left upper 8, right upper 4,
// right lower 2, left lower 1. Edges: 0 upper, 1 right, 2 lower, 3 left.
/** @type {[number, number][][]} */
const CROSSED = [
  [],
  [[3, 2]],
  [[2, 1]],
  [[3, 1]],
  [[0, 1]],
  [
    [3, 0],
    [2, 1],
  ],
  [[0, 2]],
  [[3, 0]],
  [[0, 3]],
  [[0, 2]],
  [
    [0, 1],
    [3, 2],
  ],
  [[0, 1]],
  [[3, 1]],
  [[2, 1]],
  [[3, 2]],
  [],
];

/**
 * The line around what is at or above a level, as data of an SVG path in a picture of this size.
 *
 * @param {Grid} grid
 * @param {number} level
 * @param {number} width
 * @param {number} height
 */
export function contourPath({ rows, columns, values }, level, width, height) {
  // A rim of zeros closes each line at the edge of the film.
  const at = (/** @type {number} */ row, /** @type {number} */ column) =>
    row < 0 || column < 0 || row >= rows || column >= columns ? 0 : values[row * columns + column];
  const parts = [];
  for (let row = -1; row < rows; row++) {
    for (let column = -1; column < columns; column++) {
      const corners = [at(row, column), at(row, column + 1), at(row + 1, column + 1), at(row + 1, column)];
      const index = corners.reduce((sum, value) => 2 * sum + (value >= level ? 1 : 0), 0);
      for (const edges of CROSSED[index]) {
        const [from, to] = edges.map((edge) => crossing(corners, edge, level));
        const place = (/** @type {number[]} */ [x, y]) =>
          `${round(limited(((column + x + 0.5) * width) / columns, width))} ${round(limited(((row + y + 0.5) * height) / rows, height))}`;
        parts.push(`M${place(from)}L${place(to)}`);
      }
    }
  }
  return parts.join("");
}

/**
 * The highest point of a path of `contourPath`; null where it is empty.
 *
 * @param {string} path
 */
export function topOf(path) {
  const points = [...path.matchAll(/([\d.]+) ([\d.]+)/g)].map(([, x, y]) => ({ x: Number(x), y: Number(y) }));
  return points.length ? points.reduce((top, point) => (point.y < top.y ? point : top)) : null;
}

/**
 * Where a line crosses an edge of a cell, in cells from its left upper corner.
 *
 * @param {number[]} corners
 * @param {number} edge
 * @param {number} level
 * @returns {[number, number]}
 */
function crossing(corners, edge, level) {
  const [first, second] = [corners[edge], corners[(edge + 1) % 4]];
  const share = first === second ? 0.5 : (level - first) / (second - first);
  if (edge === 0) return [share, 0];
  if (edge === 1) return [1, share];
  return edge === 2 ? [1 - share, 1] : [0, 1 - share];
}

/**
 * @param {number} value
 * @param {number} most
 */
function limited(value, most) {
  return Math.min(Math.max(value, 0), most);
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
