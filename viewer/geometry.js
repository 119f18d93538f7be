// How a stored image becomes the usual display of a frontal chest radiograph: as `ml/dicom/orientation.py`,
// `ml/dicom/pixel_aspect.py` and `ml/dicom/shutter.py` do it for the server's picture and the AI.
import { number, numbers, texts } from "./attributes.js";

/** @typedef {import("./attributes.js").Attributes} Attributes */
/** @typedef {{ transpose: boolean, flipColumns: boolean, flipRows: boolean }} Turn first transposed, then mirrored */

const TOLERANCE = 0.005;
const LARGEST_RATIO = 8;
const LEAST_VISIBLE = 0.02;
// Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing
const SPACINGS = ["00280030", "00181164", "00182010"];
/** @type {Record<string, string>} */
const AXES = { R: "across", L: "across", H: "down", F: "down" };

/**
 * The turn by Patient Orientation (PS3.3 C.7.6.1.1.1). Oblique and absent values are not corrected.
 *
 * @param {Attributes} attributes
 * @returns {Turn}
 */
export function turnOf(attributes) {
  const upright = { transpose: false, flipColumns: false, flipRows: false };
  const values = texts(attributes, "00200020").map((value) => value.toUpperCase());
  if (
    values
      .map((value) => AXES[value] ?? "")
      .sort()
      .join() !== "across,down"
  )
    return upright;
  const [row, column] = values;
  const transpose = row === "H" || row === "F";
  const [across, down] = transpose ? [column, row] : [row, column];
  return { transpose, flipColumns: across === "R", flipRows: down === "H" };
}

/**
 * Height of a pixel divided by its width (PS3.3 C.7.6.3.1.7).
 *
 * @param {Attributes} attributes
 */
export function pixelRatio(attributes) {
  for (const tag of [...SPACINGS, "00280034"]) {
    const [vertical, horizontal] = numbers(attributes, tag);
    if (!(vertical > 1e-9 && horizontal > 1e-9 && vertical < 1e9 && horizontal < 1e9)) continue;
    const ratio = vertical / horizontal;
    if (ratio < 1 / LARGEST_RATIO || ratio > LARGEST_RATIO) continue;
    return Math.abs(ratio - 1) <= TOLERANCE ? 1 : ratio;
  }
  return 1;
}

/**
 * The pixels that the Display Shutter (PS3.3 C.7.6.11) hides: 1 for each hidden one; null where none is hidden.
 *
 * @param {Attributes} attributes
 * @param {number} rows
 * @param {number} columns
 * @param {number} ratio
 */
export function hiddenPixels(attributes, rows, columns, ratio) {
  const shapes = new Set(texts(attributes, "00181600").map((shape) => shape.toUpperCase()));
  const tests = [...shapes].flatMap((shape) => isInside(attributes, shape, ratio) ?? []);
  if (!tests.length) return null;
  const hidden = new Uint8Array(rows * columns);
  let count = 0;
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) {
      if (tests.every((test) => test(row + 1, column + 1))) continue;
      hidden[at] = 1;
      count++;
    }
  }
  return count === 0 || count > hidden.length * (1 - LEAST_VISIBLE) ? null : hidden;
}

/**
 * A test whether a pixel (counted from 1) is inside a shape; null where the shape cannot be understood.
 *
 * @param {Attributes} attributes
 * @param {string} shape
 * @param {number} ratio
 * @returns {((row: number, column: number) => boolean) | null}
 */
function isInside(attributes, shape, ratio) {
  if (shape === "RECTANGULAR") {
    const [left, right, upper, lower] = ["00181602", "00181604", "00181606", "00181608"].map((tag) =>
      number(attributes, tag, Number.NaN),
    );
    if (!(left <= right && upper <= lower)) return null;
    return (row, column) => row >= upper && row <= lower && column >= left && column <= right;
  }
  if (shape === "CIRCULAR") {
    const [y, x] = numbers(attributes, "00181610");
    const radius = number(attributes, "00181612", 0);
    if (!(radius >= 1) || x === undefined) return null;
    return (row, column) => ((row - y) * ratio) ** 2 + (column - x) ** 2 <= radius ** 2;
  }
  const corners = shape === "POLYGONAL" ? numbers(attributes, "00181620") : [];
  if (corners.length < 6 || corners.length % 2) return null;
  return (row, column) => isInsidePolygon(corners, row, column);
}

/**
 * @param {number[]} corners row and column of each
 * @param {number} row
 * @param {number} column
 */
function isInsidePolygon(corners, row, column) {
  let inside = false;
  for (let at = 0, before = corners.length - 2; at < corners.length; before = at, at += 2) {
    const [y, x, formerY, formerX] = [corners[at], corners[at + 1], corners[before], corners[before + 1]];
    if (y > row !== formerY > row && column < ((formerX - x) * (row - y)) / (formerY - y) + x) inside = !inside;
  }
  return inside;
}

/**
 * Values with square pixels: the coarser axis gets more of them, by bilinear interpolation.
 *
 * @template {Int16Array | Uint16Array | Float32Array} T
 * @param {{ values: T, rows: number, columns: number }} image
 * @param {number} ratio
 */
export function withSquarePixels(image, ratio) {
  if (ratio === 1) return image;
  const { values, rows: oldRows, columns: oldColumns } = image;
  const rows = Math.round(oldRows * Math.max(ratio, 1));
  const columns = Math.round(oldColumns * Math.max(1 / ratio, 1));
  const result = /** @type {T} */ (new /** @type {any} */ (values).constructor(rows * columns));
  for (let row = 0, at = 0; row < rows; row++) {
    const [upper, lower, down] = between(row, rows, oldRows);
    for (let column = 0; column < columns; column++, at++) {
      const [left, right, across] = between(column, columns, oldColumns);
      const top = values[upper * oldColumns + left] * (1 - across) + values[upper * oldColumns + right] * across;
      const bottom = values[lower * oldColumns + left] * (1 - across) + values[lower * oldColumns + right] * across;
      result[at] = top * (1 - down) + bottom * down;
    }
  }
  return { values: result, rows, columns };
}

/**
 * The two old places that a new one lies between, and how near it is to the second.
 *
 * @param {number} at
 * @param {number} size
 * @param {number} oldSize
 */
function between(at, size, oldSize) {
  const place = Math.min(Math.max(((at + 0.5) * oldSize) / size - 0.5, 0), oldSize - 1);
  const first = Math.floor(place);
  return [first, Math.min(first + 1, oldSize - 1), place - first];
}

/**
 * @template {Int16Array | Uint16Array | Float32Array} T
 * @param {{ values: T, rows: number, columns: number }} image
 * @param {Turn} turn
 */
export function turned(image, { transpose, flipColumns, flipRows }) {
  if (!transpose && !flipColumns && !flipRows) return image;
  const { values, rows: oldRows, columns: oldColumns } = image;
  const [rows, columns] = transpose ? [oldColumns, oldRows] : [oldRows, oldColumns];
  const result = /** @type {T} */ (new /** @type {any} */ (values).constructor(values.length));
  for (let row = 0, at = 0; row < rows; row++) {
    const y = flipRows ? rows - 1 - row : row;
    for (let column = 0; column < columns; column++, at++) {
      const x = flipColumns ? columns - 1 - column : column;
      result[at] = values[transpose ? x * oldColumns + y : y * oldColumns + x];
    }
  }
  return { values: result, rows, columns };
}
