// Preprocesses a PNG or JPEG in the browser, as the application of the CheXNet paper's authors did: the result is the
// network's input, a .npy file of float32, with the values that ml/model/transforms.py computes.

/** @typedef {{ pixels: Uint8Array, width: number, height: number }} Grey grey levels of 8 bits, row by row */
/** @typedef {{ size: number, fit: string, resize: string, mean: number[], std: number[] }} InputSpace as the API gives it */

const ONE = 2 ** 22; // Pillow's PRECISION_BITS

/**
 * Whether the browser decodes this file to the same grey levels as the server: 8 bits, no transparency, no palette.
 *
 * @param {Blob} file
 */
export async function isPlainPicture(file) {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  if (head[0] === 0xff && head[1] === 0xd8 && head[2] === 0xff) return true;
  const isPng = [0x89, 0x50, 0x4e, 0x47].every((byte, index) => head[index] === byte);
  return isPng && head[24] === 8 && (head[25] === 0 || head[25] === 2);
}

/**
 * Whether `tensorOf` supports this input space; imported versions may resample in other ways.
 *
 * @param {Pick<InputSpace, "fit" | "resize">} space
 */
export function isSupported({ fit: how, resize }) {
  return resize === "area" && ["stretch", "crop"].includes(how);
}

/**
 * The grey levels of an image; null where its size is unusual, so that the server must check the file itself.
 *
 * @param {Blob} file
 * @returns {Promise<Grey | null>}
 */
export async function greyOf(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  if (Math.min(width, height) < 256 || Math.max(width, height) > 1.6 * Math.min(width, height)) return null;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return null;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height);
  // BT.601 in Pillow's fixed-point arithmetic, so that a grey image keeps its levels exactly.
  for (let at = 0, from = 0; at < pixels.length; at += 1, from += 4) {
    pixels[at] = (19595 * data[from] + 38470 * data[from + 1] + 7471 * data[from + 2] + 0x8000) >> 16;
  }
  return { pixels, width, height };
}

/**
 * The .npy file (float32, 1 x 3 x size x size) of a grey image in an input space of the API.
 *
 * @param {Grey} grey
 * @param {InputSpace} space
 */
export function tensorOf(grey, space) {
  const square = fit(grey, space);
  const plane = space.size * space.size;
  const values = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel += 1) {
    const table = Float32Array.from(
      { length: 256 },
      (_, level) => (level / 255 - space.mean[channel]) / space.std[channel],
    );
    for (let at = 0; at < plane; at += 1) values[channel * plane + at] = table[square[at]];
  }
  return new Blob([npyHeader([1, 3, space.size, space.size]), values]);
}

/**
 * @param {Grey} grey
 * @param {InputSpace} space
 */
function fit(grey, { size, fit: how }) {
  let { width, height } = { width: size, height: size };
  if (how === "crop") {
    const short = Math.min(grey.width, grey.height);
    width = Math.max(size, Math.round((grey.width * size) / short));
    height = Math.max(size, Math.round((grey.height * size) / short));
  }
  const whole = resizeRows(transposed(resizeRows(grey, width)), height);
  const { pixels } = transposed(whole);
  if (width === size && height === size) return pixels;
  const top = Math.floor((height - size) / 2);
  const left = Math.floor((width - size) / 2);
  const square = new Uint8Array(size * size);
  for (let y = 0; y < size; y += 1) {
    square.set(pixels.subarray((top + y) * width + left, (top + y) * width + left + size), y * size);
  }
  return square;
}

/**
 * Resample each row: area averages when shrinking, bilinear when enlarging; bit for bit the result of Pillow.
 *
 * @param {Grey} grey
 * @param {number} target
 * @returns {Grey}
 */
function resizeRows({ pixels, width, height }, target) {
  if (width === target) return { pixels, width, height };
  const taps = Array.from({ length: target }, (_, index) => tapsOf(index, width, width / target));
  const result = new Uint8Array(target * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < target; x += 1) {
      const { first, weights } = taps[x];
      let sum = ONE / 2;
      for (let at = 0; at < weights.length; at += 1) sum += weights[at] * pixels[y * width + first + at];
      result[y * target + x] = Math.min(255, Math.floor(sum / ONE));
    }
  }
  return { pixels: result, width: target, height };
}

/**
 * The source pixels of a target pixel, with their weights in Pillow's fixed point and in its order of operations.
 *
 * @param {number} index of the target pixel
 * @param {number} width of the source
 * @param {number} scale source pixels per target pixel
 */
function tapsOf(index, width, scale) {
  const isShrinking = scale > 1;
  const centre = (index + 0.5) * scale;
  const reach = isShrinking ? scale / 2 : 1;
  const perPixel = 1 / Math.max(scale, 1);
  const first = Math.max(0, Math.trunc(centre - reach + 0.5));
  const last = Math.min(width, Math.trunc(centre + reach + 0.5));
  const weights = [];
  for (let at = 0; at < last - first; at += 1)
    weights.push(weight((at + first - centre + 0.5) * perPixel, isShrinking));
  const total = weights.reduce((sum, each) => sum + each, 0);
  return { first, weights: Float64Array.from(weights, (each) => Math.trunc(0.5 + (each / total) * ONE)) };
}

/**
 * @param {number} distance
 * @param {boolean} isShrinking
 */
function weight(distance, isShrinking) {
  if (isShrinking) return distance > -0.5 && distance <= 0.5 ? 1 : 0;
  return Math.max(0, 1 - Math.abs(distance));
}

/**
 * @param {Grey} grey
 * @returns {Grey}
 */
function transposed({ pixels, width, height }) {
  const turned = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) turned[x * height + y] = pixels[y * width + x];
  }
  return { pixels: turned, width: height, height: width };
}

/** @param {number[]} shape */
function npyHeader(shape) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const header = new Uint8Array(10 + length).fill(0x20);
  header.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 0xff, length >> 8]);
  header.set(new TextEncoder().encode(text), 10);
  header[9 + length] = 0x0a;
  return header;
}

/**
 * The gzipped bytes; null where the browser does not support it.
 *
 * @param {Blob} blob
 */
export async function gzipped(blob) {
  if (typeof CompressionStream === "undefined") return null;
  return new Response(blob.stream().pipeThrough(new CompressionStream("gzip"))).blob();
}
