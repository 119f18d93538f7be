// Asks for an image by WADO-RS. The page loads this file first: the image that it opens with is asked for before its other
// scripts are there, and before the viewer's bundle is.

/**
 * @typedef {object} Asked
 * @property {Promise<any>} attributes as DICOM JSON
 * @property {Promise<ArrayBuffer> | null} frame the first one; null where the viewer has to decode it
 * @property {AbortSignal} signal whether it was stopped
 * @property {() => void} stop
 */

/** Transfer syntaxes without compression: their frames need no decoder. */
const PLAIN = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"];
const [first] = document.querySelectorAll('.image[aria-pressed="true"], span.image');
const { address: firstAddress = "", syntax: firstSyntax = "" } = first instanceof HTMLElement ? first.dataset : {};
/** @type {Asked | null} */
let early = firstAddress && viewerUrl() ? started(firstAddress, firstSyntax) : null;

/** The address of the viewer's bundle; empty where it is not built. */
export function viewerUrl() {
  const desk = document.getElementById("desk");
  return desk?.dataset.viewerUrl ?? "";
}

/**
 * Ask for the attributes of an image and, where it is not compressed, for its frame.
 *
 * @param {string} address of the instance, below /dicom-web/
 * @param {string} syntax its transfer syntax
 * @returns {Asked}
 */
export function ask(address, syntax) {
  const asked = early && address === firstAddress ? early : started(address, syntax);
  if (early !== asked) early?.stop();
  early = null;
  return asked;
}

/**
 * @param {string} address
 * @param {string} syntax
 * @returns {Asked}
 */
function started(address, syntax) {
  const stopper = new AbortController();
  const request = async (/** @type {string} */ part, /** @type {string} */ accept) => {
    const response = await fetch(`${address}/${part}`, { headers: { Accept: accept }, signal: stopper.signal });
    if (!response.ok) throw new Error(`${part} answered ${response.status}`);
    return response;
  };
  const attributes = request("metadata", "application/dicom+json").then(async (answer) => (await answer.json())[0]);
  const frame = PLAIN.includes(syntax)
    ? request("frames/1", "application/octet-stream").then((answer) => answer.arrayBuffer())
    : null;
  // Where the bundle fails, they are not awaited.
  attributes.catch(() => {});
  frame?.catch(() => {});
  return { attributes, frame, signal: stopper.signal, stop: () => stopper.abort() };
}
