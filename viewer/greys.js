// The grayscale pipeline (PS3.4 annex N.2) without its last step: stored values become values that a window shows.
// It follows `ml/dicom/display.py`, so that the first view has the greys of the server's picture.
import { firstItem, number, numbers, texts } from "./attributes.js";

/** @typedef {import("./attributes.js").Attributes} Attributes */
/** @typedef {{ lower: number, upper: number }} Window the values that are shown black and white */
/** @typedef {{ name: string, explanation: string, window: Window }} Preset */
/** @typedef {{ data: ArrayLike<number>, first: number, bits: number }} Lut */
/** @typedef {{ modality: Lut | null, voi: Lut | null }} Luts */

const RLE = "1.2.840.10008.1.2.5";
const NATIVE = [
  "1.2.840.10008.1.2",
  "1.2.840.10008.1.2.1",
  "1.2.840.10008.1.2.2",
  "1.2.840.10008.1.2.1.99",
  "1.2.840.10008.1.2.1.98",
];
const PERCENTILES = [0.5, 99.5];
const SAMPLE_PIXELS = 1 << 16;
const P_VALUES = 65535;

/**
 * A lookup table from its sequence item and its data (PS3.3 C.11.1.1); null where they contradict each other.
 *
 * @param {Attributes} item
 * @param {ArrayBuffer} data little endian
 * @param {boolean} isSigned
 * @returns {Lut | null}
 */
export function readLut(item, data, isSigned) {
  const [count, first, bits] = numbers(item, "00283002");
  const length = count || 1 << 16;
  if (!(bits >= 1 && bits <= 16)) return null;
  const start = isSigned && first >= 1 << 15 ? first - (1 << 16) : first;
  if (data.byteLength >= 2 * length) return { data: new Uint16Array(data, 0, length), first: start, bits };
  return bits <= 8 && data.byteLength >= length ? { data: new Uint8Array(data, 0, length), first: start, bits } : null;
}

/**
 * @param {Attributes} attributes
 * @param {ArrayLike<number>} pixels of the frame, as the codec gives them
 * @param {string} transferSyntax of the frame
 * @param {Uint8Array | null} hidden 1 for each pixel that the shutter hides
 * @param {Luts} luts of the file
 */
export function greysOf(attributes, pixels, transferSyntax, hidden, luts) {
  const { modality, isPlain, bits, isSigned } = modalityTable(attributes, transferSyntax, luts.modality);
  const isPadding = paddingOf(attributes, transferSyntax, modality.length);
  const isInverted = texts(attributes, "00280004")[0] === "MONOCHROME1";
  const mask = modality.length - 1;
  const sample = sampled(pixels, number(attributes, "00280011", 1), mask, hidden, isPadding).map(
    (raw) => modality[raw],
  );
  sample.sort();
  const shown = voiOf(attributes, modality, sample, luts.voi, isPlain && bits <= 8 && !isSigned ? bits : 0);
  const table = shown.table ?? modality;
  const [least, most] = rangeOf(pixels, table, mask, hidden, isPadding);
  const black = isInverted ? most : least;
  const values = valuesFor(table, pixels.length);
  const final = table.map((value, raw) => (isPadding[raw] ? black : value));
  for (let at = 0; at < pixels.length; at++) values[at] = final[pixels[at] & mask];
  if (hidden) for (let at = 0; at < pixels.length; at++) if (hidden[at]) values[at] = black;
  const presets = [...shown.presets, ...derived(shown.presets[0].window, { lower: least, upper: most }, isInverted)];
  return { values, isInverted, presets, range: { lower: least, upper: most } };
}

/**
 * The modality value of each raw value (PS3.3 C.11.1).
 *
 * @param {Attributes} attributes
 * @param {string} transferSyntax
 * @param {Lut | null} lut
 */
function modalityTable(attributes, transferSyntax, lut) {
  const bits = number(attributes, "00280101", 16);
  const isSigned = number(attributes, "00280103", 0) === 1;
  const table = storedValues(attributes, transferSyntax);
  const slope = number(attributes, "00281053", 1);
  const intercept = number(attributes, "00281052", 0);
  for (let raw = 0; raw < table.length; raw++) {
    const stored = table[raw];
    table[raw] = lut ? looked(lut, stored) : stored * slope + intercept;
  }
  return { modality: table, isPlain: !lut && slope === 1 && intercept === 0, bits, isSigned };
}

/**
 * The stored value of each raw value: Bits Stored bits below High Bit (PS3.5 8.1.1).
 *
 * @param {Attributes} attributes
 * @param {string} transferSyntax
 */
function storedValues(attributes, transferSyntax) {
  const allocated = number(attributes, "00280100", 16);
  const bits = number(attributes, "00280101", allocated);
  const isNative = NATIVE.includes(transferSyntax) || transferSyntax === RLE;
  const shift = isNative ? number(attributes, "00280102", bits - 1) + 1 - bits : 0;
  const sign = number(attributes, "00280103", 0) === 1 ? 1 << (bits - 1) : 0;
  const table = new Float64Array(allocated > 8 ? 1 << 16 : 1 << 8);
  for (let raw = 0; raw < table.length; raw++) table[raw] = (((raw >> shift) & ((1 << bits) - 1)) ^ sign) - sign;
  return table;
}

/**
 * @param {Lut} lut
 * @param {number} value
 */
function looked({ data, first }, value) {
  return data[Math.min(Math.max(Math.floor(value) - first, 0), data.length - 1)];
}

/**
 * 1 for each raw value that is padding (PS3.3 C.7.5.1.1.2).
 *
 * @param {Attributes} attributes
 * @param {string} transferSyntax
 * @param {number} count of raw values
 */
function paddingOf(attributes, transferSyntax, count) {
  const isPadding = new Uint8Array(count);
  const [value] = numbers(attributes, "00280120");
  if (value === undefined) return isPadding;
  const limit = number(attributes, "00280121", value);
  const [lower, upper] = [Math.min(value, limit), Math.max(value, limit)];
  for (const [raw, stored] of storedValues(attributes, transferSyntax).entries())
    isPadding[raw] = stored >= lower && stored <= upper ? 1 : 0;
  return isPadding;
}

/**
 * What the file says how to show its values. Where it uses a curve, the values become P-Values of 16 bits first.
 *
 * @param {Attributes} attributes
 * @param {Float64Array} modality
 * @param {Float64Array} sample sorted modality values of visible pixels
 * @param {Lut | null} lut
 * @param {number} fullRangeBits of an image without a window that is shown over its full range; else 0
 * @returns {{ table: Float64Array | null, presets: Preset[] }}
 */
function voiOf(attributes, modality, sample, lut, fullRangeBits) {
  if (lut) {
    const scale = P_VALUES / ((1 << lut.bits) - 1);
    const [explanation = ""] = texts(firstItem(attributes, "00283010") ?? {}, "00283003");
    return asCurve(modality, explanation, (value) => looked(lut, value) * scale);
  }
  const name = texts(attributes, "00281056")[0]?.toUpperCase() || "LINEAR";
  const [centres, widths, reasons] = [
    numbers(attributes, "00281050"),
    numbers(attributes, "00281051"),
    texts(attributes, "00281055"),
  ];
  /** @type {Preset[]} */
  const presets = [];
  for (const [at, centre] of centres.entries()) {
    const width = widths[at];
    if (!(name === "LINEAR" || !["LINEAR_EXACT", "SIGMOID"].includes(name) ? width >= 1 : width > 1e-9)) continue;
    const explanation = reasons[at] ?? "";
    if (name === "SIGMOID") {
      const curve = (/** @type {number} */ value) => P_VALUES / (1 + Math.exp((-4 * (value - centre)) / width));
      return asCurve(modality, explanation, curve);
    }
    const half = name === "LINEAR_EXACT" ? width / 2 : Math.max(width - 1, 1e-6) / 2;
    const middle = name === "LINEAR_EXACT" ? centre : centre - 0.5;
    const window = { lower: middle - half, upper: middle + half };
    if (hasContrast(window, sample)) presets.push({ name: "file", explanation, window });
  }
  if (presets.length) return { table: null, presets };
  const window = fullRangeBits ? { lower: 0, upper: (1 << fullRangeBits) - 1 } : percentiles(sample);
  return { table: null, presets: [{ name: fullRangeBits ? "full" : "automatic", explanation: "", window }] };
}

/**
 * @param {Float64Array} modality
 * @param {string} explanation
 * @param {(value: number) => number} curve
 */
function asCurve(modality, explanation, curve) {
  const table = modality.map((value) => Math.round(curve(value)));
  return { table, presets: [{ name: "file", explanation, window: { lower: 0, upper: P_VALUES } }] };
}

/**
 * @param {Window} window
 * @param {Float64Array} sample sorted
 */
function hasContrast({ lower, upper }, sample) {
  const [least, most] = [sample[0], sample[sample.length - 1]];
  if (!(most > least)) return true;
  const shade = (/** @type {number} */ value) => Math.min(Math.max((value - lower) / (upper - lower), 0), 1);
  return shade(most) - shade(least) >= 1 / 255;
}

/**
 * @param {Float64Array} sample sorted
 * @returns {Window}
 */
function percentiles(sample) {
  const [lower, upper] = PERCENTILES.map((share) => {
    const place = (share / 100) * (sample.length - 1);
    const first = Math.floor(place);
    const next = sample[Math.min(first + 1, sample.length - 1)];
    return sample[first] + (next - sample[first]) * (place - first);
  });
  if (upper > lower) return { lower, upper };
  const [least = 0, most = 1] = [sample[0], sample[sample.length - 1]];
  return { lower: least, upper: most > least ? most : least + 1 };
}

/**
 * Windows that every radiograph has: its whole range, and the dark and the bright part of the first window.
 *
 * @param {Window} window
 * @param {Window} range
 * @param {boolean} isInverted
 * @returns {Preset[]}
 */
function derived({ lower, upper }, range, isInverted) {
  const width = upper - lower;
  const low = { lower, upper: lower + 0.6 * width };
  const high = { lower: lower + 0.4 * width, upper };
  const middle = { lower: lower + 0.25 * width, upper: upper - 0.25 * width };
  const whole = range.upper > range.lower ? range : { lower: range.lower, upper: range.lower + 1 };
  return [
    { name: "lungs", explanation: "", window: isInverted ? high : low },
    { name: "mediastinum", explanation: "", window: isInverted ? low : high },
    { name: "contrast", explanation: "", window: middle },
    { name: "range", explanation: "", window: whole },
  ];
}

/**
 * Visible raw values on a regular grid of about 65,000 pixels.
 *
 * @param {ArrayLike<number>} pixels
 * @param {number} columns
 * @param {number} mask
 * @param {Uint8Array | null} hidden
 * @param {Uint8Array} isPadding
 */
function sampled(pixels, columns, mask, hidden, isPadding) {
  const step = Math.max(1, Math.floor(Math.sqrt(pixels.length / SAMPLE_PIXELS)));
  const found = [];
  for (let start = 0; start < pixels.length; start += step * columns) {
    for (let at = start; at < start + columns; at += step) {
      const raw = pixels[at] & mask;
      if (!hidden?.[at] && !isPadding[raw]) found.push(raw);
    }
  }
  return Float64Array.from(found);
}

/**
 * The least and the largest of the visible values.
 *
 * @param {ArrayLike<number>} pixels
 * @param {Float64Array} table
 * @param {number} mask
 * @param {Uint8Array | null} hidden
 * @param {Uint8Array} isPadding
 */
function rangeOf(pixels, table, mask, hidden, isPadding) {
  const isSeen = new Uint8Array(table.length);
  if (hidden) {
    for (let at = 0; at < pixels.length; at++) if (!hidden[at]) isSeen[pixels[at] & mask] = 1;
  } else {
    for (let at = 0; at < pixels.length; at++) isSeen[pixels[at] & mask] = 1;
  }
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let raw = 0; raw < table.length; raw++) {
    if (!isSeen[raw] || isPadding[raw]) continue;
    least = Math.min(least, table[raw]);
    most = Math.max(most, table[raw]);
  }
  return least <= most ? [least, most] : [0, 1];
}

/**
 * The smallest array that holds the values of a table exactly, or else 32-bit floats.
 *
 * @param {Float64Array} table
 * @param {number} length
 */
function valuesFor(table, length) {
  let [isWhole, least, most] = [true, table[0], table[0]];
  for (const value of table) {
    isWhole &&= Number.isInteger(value);
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  if (isWhole && least >= 0 && most <= 65535) return new Uint16Array(length);
  return isWhole && least >= -32768 && most <= 32767 ? new Int16Array(length) : new Float32Array(length);
}
