// The bundle that shows a radiograph with the bit depth of its file. Only reading pages load it, and only when they
// show a picture of the server already. Cornerstone3D decodes the frame and draws it, with WebGL or without.
import {
  cache,
  Enums,
  getShouldUseCPURendering,
  imageLoader,
  init as initCore,
  RenderingEngine,
  setUseCPURendering,
  utilities,
} from "@cornerstonejs/core";
import { firstItem, number, texts } from "./attributes.js";
import { decodedFrame } from "./decoder.js";
import { hiddenPixels, pixelRatio, turned, turnOf, withSquarePixels } from "./geometry.js";
import { greysOf, readLut } from "./greys.js";

/** @typedef {import("./attributes.js").Attributes} Attributes */

/** A larger image would take more than a gigabyte of the browser's memory. */
const MOST_PIXELS = 60e6;
const GREY = ["MONOCHROME1", "MONOCHROME2"];
const MODALITY_LUT = "00283000";
const VOI_LUT = "00283010";
const LUT_DATA = "00283006";
const EXPLICIT_LE = "1.2.840.10008.1.2.1";
/** Drivers that draw on the CPU: Cornerstone3D's own drawing on the CPU takes half of their time. */
const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;
let largestTexture = 0;
let count = 0;
/** Draws all pictures of the page: a browser has only a few WebGL contexts. @type {RenderingEngine | null} */
let engine = null;

/** The reason why an image is shown only as the server renders it. */
export class NotShownError extends Error {}

/**
 * Show an image in an element.
 *
 * @param {HTMLDivElement} element
 * @param {string} address of the instance, below /dicom-web/
 * @param {import("../static/js/image_requests.js").Asked} asked what the page has asked for already
 */
export async function openPicture(element, address, asked) {
  start();
  const attributes = await asked.attributes;
  const isGrey = number(attributes, "00280002", 1) === 1 && GREY.includes(texts(attributes, "00280004")[0] ?? "");
  if (!isGrey) throw new NotShownError("colour");
  const [rows, columns] = [number(attributes, "00280010", 0), number(attributes, "00280011", 0)];
  if (!rows || !columns || rows * columns > MOST_PIXELS) throw new NotShownError("size");
  const [{ pixels, transferSyntax }, luts] = await Promise.all([
    asked.frame ? plainFrame(await asked.frame, attributes, rows * columns) : decodedFrame(address, attributes),
    requestLuts(attributes),
  ]);
  if (pixels.length !== rows * columns) throw new NotShownError("size");
  // Another image is shown by now: its picture must not be drawn over.
  asked.signal.throwIfAborted();
  return new Picture(element, attributes, pixels, transferSyntax, luts);
}

/**
 * @param {ArrayBuffer} bytes of an uncompressed frame, little endian
 * @param {Attributes} attributes
 * @param {number} length in pixels
 */
function plainFrame(bytes, attributes, length) {
  const bits = number(attributes, "00280100", 16);
  if (bits > 16 || bytes.byteLength * 8 < length * bits) throw new NotShownError("size");
  const pixels = bits > 8 ? new Uint16Array(bytes, 0, length) : new Uint8Array(bytes, 0, length);
  return { pixels, transferSyntax: EXPLICIT_LE };
}

function start() {
  if (largestTexture) return;
  initCore(/** @type {any} */ ({ rendering: { webGlContextCount: 1 } }));
  const context = document.createElement("canvas").getContext("webgl2");
  largestTexture = context ? context.getParameter(context.MAX_TEXTURE_SIZE) : Number.POSITIVE_INFINITY;
  const isSoftware = SOFTWARE.test(context ? rendererOf(context) : "");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  if (isSoftware) setUseCPURendering(true, false);
}

/** @param {WebGL2RenderingContext} context */
function rendererOf(context) {
  const details = context.getExtension("WEBGL_debug_renderer_info");
  return String(context.getParameter(details ? details.UNMASKED_RENDERER_WEBGL : context.RENDERER));
}

/**
 * @param {string} address
 * @param {string} accept
 */
async function request(address, accept) {
  const response = await fetch(address, { headers: { Accept: accept } });
  if (!response.ok) throw new Error(`${address} answered ${response.status}`);
  return response;
}

/** @param {Attributes} attributes */
async function requestLuts(attributes) {
  const [modality, voi] = await Promise.all([MODALITY_LUT, VOI_LUT].map((tag) => requestLut(attributes, tag)));
  return { modality, voi };
}

/**
 * @param {Attributes} attributes
 * @param {string} tag of the sequence
 */
async function requestLut(attributes, tag) {
  const item = firstItem(attributes, tag);
  const data = item?.[LUT_DATA];
  if (!item || !data) return null;
  const isSigned =
    number(attributes, "00280103", 0) === 1 || (tag === VOI_LUT && number(attributes, "00281052", 0) < 0);
  if (data.Value) return readLut(item, Uint16Array.from(/** @type {number[]} */ (data.Value)).buffer, isSigned);
  const bytes = data.InlineBinary
    ? Uint8Array.from(atob(data.InlineBinary), (letter) => letter.charCodeAt(0)).buffer
    : await (await request(new URL(data.BulkDataURI ?? "").pathname, "application/octet-stream")).arrayBuffer();
  return readLut(item, bytes, isSigned);
}

/** An image in its element: which values are black and white, and where its pixels lie. */
export class Picture {
  /**
   * @param {HTMLDivElement} element
   * @param {Attributes} attributes
   * @param {ArrayLike<number>} pixels
   * @param {string} transferSyntax
   * @param {import("./greys.js").Luts} luts
   */
  constructor(element, attributes, pixels, transferSyntax, luts) {
    const [storedRows, storedColumns] = [number(attributes, "00280010", 0), number(attributes, "00280011", 0)];
    const ratio = pixelRatio(attributes);
    const hidden = hiddenPixels(attributes, storedRows, storedColumns, ratio);
    const { values, isInverted, presets, range } = greysOf(attributes, pixels, transferSyntax, hidden, luts);
    const stored = { values, rows: storedRows, columns: storedColumns };
    const shown = turned(withSquarePixels(stored, ratio), turnOf(attributes));
    this.values = shown.values;
    this.rows = shown.rows;
    this.columns = shown.columns;
    this.bits = number(attributes, "00280101", 8);
    /** Whether high values are dark. */
    this.isInverted = isInverted;
    this.presets = presets;
    this.range = range;
    this.element = element;
    count += 1;
    this.imageId = `picture:${count}`;
    this.isOnCpu = getShouldUseCPURendering() || Math.max(this.columns, this.rows) > largestTexture;
    engine ??= new RenderingEngine("films");
    this.engine = engine;
    this.viewport = this.#open();
  }

  #open() {
    const { columns, rows } = this;
    const image = imageLoader.createAndCacheLocalImage(this.imageId, {
      scalarData: this.values,
      dimensions: [columns, rows],
      // The picture has square pixels, so a pixel is the unit of length.
      spacing: [1, 1],
      origin: [0, 0, 0],
      direction: /** @type {any} */ ([1, 0, 0, 0, 1, 0]),
      frameOfReferenceUID: this.imageId,
    });
    // A viewport asks for the modality of what it shows.
    const series = { type: "generalSeriesModule", metadata: { modality: "DX" } };
    utilities.genericMetadataProvider.add(this.imageId, series);
    const { lower, upper } = this.presets[0].window;
    Object.assign(image, { windowCenter: (lower + upper) / 2, windowWidth: upper - lower });
    const isUsual = getShouldUseCPURendering();
    setUseCPURendering(this.isOnCpu, false);
    this.engine.enableElement({ viewportId: this.imageId, type: Enums.ViewportType.STACK, element: this.element });
    setUseCPURendering(isUsual, false);
    return /** @type {import("@cornerstonejs/core").StackViewport} */ (this.engine.getViewport(this.imageId));
  }

  /** Wait until it can be drawn. */
  async ready() {
    await this.viewport.setStack([this.imageId]);
    // The viewport keeps its errors to itself, and would stay black.
    if (!this.viewport.getImageData()) throw new Error("The picture could not be made ready.");
  }

  /**
   * @param {DOMMatrix} matrix from pixels of the picture, counted from its left upper corner, to those of the element
   * @param {import("./greys.js").Window} window
   * @param {boolean} isInverted
   */
  draw(matrix, window, isInverted) {
    this.viewport.setProperties({ voiRange: window, invert: isInverted }, true);
    this.#turn(matrix);
    this.viewport.render();
  }

  /** @param {DOMMatrix} matrix */
  #turn(matrix) {
    const { clientWidth, clientHeight } = this.element;
    const scale = Math.hypot(matrix.a, matrix.b);
    const isMirrored = matrix.a * matrix.d - matrix.b * matrix.c < 0;
    const back = matrix.inverse();
    const middle = back.transformPoint({ x: clientWidth / 2, y: clientHeight / 2 });
    // The middle of the first pixel is the origin of the world.
    const [x, y] = [middle.x - 0.5, middle.y - 0.5];
    if (this.isOnCpu) {
      // Cornerstone3D computes with the pixels of the screen, but gives the canvas fewer where these are smaller.
      const ratio = globalThis.devicePixelRatio || 1;
      const size = { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) };
      const { canvas } = this.viewport;
      if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
      const angle = (Math.atan2(isMirrored ? -matrix.b : matrix.b, isMirrored ? -matrix.a : matrix.a) * 180) / Math.PI;
      /** @type {any} */ (this.viewport).setRotation((angle + 360) % 360);
      this.viewport.setCamera({ scale: scale * ratio, flipHorizontal: isMirrored });
      this.viewport.setCamera({ focalPoint: [x, y, 0] });
      return;
    }
    const normal = isMirrored ? 1 : -1;
    this.viewport.setCamera({
      focalPoint: [x, y, 0],
      position: [x, y, 100 * normal],
      viewPlaneNormal: [0, 0, normal],
      viewUp: [-back.c * scale, -back.d * scale, 0],
      parallelScale: clientHeight / 2 / scale,
    });
  }

  /** The element has another size. */
  resize() {
    this.engine.resize(true, true);
  }

  close() {
    this.engine.disableElement(this.imageId);
    cache.removeImageLoadObject(this.imageId, { force: true });
    this.element.replaceChildren();
  }
}
