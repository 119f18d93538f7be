// Puts the picture with the bit depth of the file in the place of the server's picture, as soon as it is there. Until
// then, and where it cannot be had, the page says that the film is shown reduced.
import { ask, viewerUrl } from "./image_requests.js";
import { find } from "./page.js";
import { texts } from "./study_texts.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("./viewer.js").Picture} Picture */

export class FullDepth {
  /**
   * @param {Viewer} viewer
   * @param {HTMLElement} pane of the film
   */
  constructor(viewer, pane) {
    this.viewer = viewer;
    this.layer = find(pane, ".full-depth", HTMLDivElement);
    this.note = find(pane, ".depth-note");
    /** What is asked for; what arrives for something else is dropped. */
    this.request = 0;
    /** @type {import("./image_requests.js").Asked | null} */
    this.asked = null;
  }

  /**
   * Load an image, and draw it once its server's picture is there.
   *
   * @param {string} [address] of the instance, below /dicom-web/; empty where there is none
   * @param {string} [syntax] its transfer syntax
   */
  async show(address = "", syntax = "") {
    this.request += 1;
    this.asked?.stop();
    const asked = address && viewerUrl() ? ask(address, syntax) : null;
    this.asked = asked;
    const { request } = this;
    this.viewer.setPicture(null);
    this.say(asked ? texts.fullDepthLoading : texts.reduced);
    if (!asked) return;
    try {
      // All of these load beside the server's picture.
      const [{ openPicture }] = await Promise.all([import(viewerUrl()), isLoaded(this.viewer.film)]);
      if (request !== this.request) return;
      /** @type {Picture & { ready: () => Promise<void> }} */
      const picture = await openPicture(this.layer, address, asked);
      await picture.ready();
      if (request !== this.request) return picture.close();
      this.viewer.setPicture(picture);
      // The bytes of the frame are not needed any more.
      this.asked = null;
      this.say("");
    } catch {
      if (request !== this.request) return;
      asked.stop();
      this.say(texts.reduced);
    }
  }

  /** @param {string} text */
  say(text) {
    this.note.hidden = !text;
    this.note.textContent = text;
  }
}

/** @param {HTMLImageElement} film */
async function isLoaded(film) {
  if (film.complete) return;
  await new Promise((resolve) => {
    film.addEventListener("load", resolve, { once: true });
    film.addEventListener("error", resolve, { once: true });
  });
}
