// Decodes compressed frames, in a worker that the first of them starts.
import { imageLoader } from "@cornerstonejs/core";
import { init, wadors } from "@cornerstonejs/dicom-image-loader";

/** @typedef {import("./attributes.js").Attributes} Attributes */

let isStarted = false;

/**
 * The pixels of an image's first frame, as its codec gives them.
 *
 * @param {string} address of the instance, below /dicom-web/
 * @param {Attributes} attributes
 */
export async function decodedFrame(address, attributes) {
  if (!isStarted) init({ maxWebWorkers: 1 });
  isStarted = true;
  const imageId = `wadors:${address}/frames/1`;
  wadors.metaDataManager.add(imageId, /** @type {any} */ (attributes));
  try {
    const options = /** @type {any} */ ({ preScale: { enabled: false } });
    const image = await imageLoader.loadImage(imageId, options);
    const transferSyntax = String(/** @type {any} */ (image).transferSyntaxUID);
    return { pixels: image.getPixelData(), transferSyntax };
  } finally {
    wadors.metaDataManager.remove(imageId);
  }
}
