// Findings that the reader adds, each with a box on the film or without one.
import { Box } from "./box.js";
import { announce, byId, find, findAll } from "./page.js";
import { RequestError } from "./requests.js";
import { post } from "./session.js";
import { texts } from "./study_texts.js";

export class ReaderFindings {
  /**
   * @param {HTMLElement} panels
   * @param {() => HTMLElement | null} shownImage what says which image is shown: data-uid, data-columns, data-rows
   * @param {() => Promise<void>} reload
   * @param {(text: string) => void} showProblem
   * @param {(at: { x: number, y: number }) => { x: number, y: number }} shareAt see `Box`
   */
  constructor(panels, shownImage, reload, showProblem, shareAt) {
    this.panels = panels;
    this.shownImage = shownImage;
    this.reload = reload;
    this.showProblem = showProblem;
    const on = { changed: () => this.write(), ended: (/** @type {boolean} */ isKept) => this.endDrawing(isKept) };
    this.box = new Box(on, shareAt);
    this.showBoxes();
  }

  get form() {
    const form = document.getElementById("finding-form");
    return form instanceof HTMLFormElement ? form : null;
  }

  /** Open the form, with the focus in the name. */
  open() {
    const { form } = this;
    if (!form) return;
    form.closest("details")?.setAttribute("open", "");
    find(form, "[name=name]", HTMLInputElement).focus();
  }

  draw() {
    if (!this.form || !this.shownImage()) return;
    this.box.start();
    announce(texts.boxHelp);
  }

  /** Write the box into the form. */
  write() {
    const { form } = this;
    const image = this.shownImage();
    if (!form || !image) return;
    const { uid = "", columns, rows } = image.dataset;
    const box = this.box.pixels(Number(columns), Number(rows));
    find(form, "[name=box]", HTMLInputElement).value = box;
    find(form, "[name=sop_instance_uid]", HTMLInputElement).value = box && uid;
    find(form, "[data-box-text]").textContent = box ? texts.boxDrawn(box) : "";
  }

  /** @param {boolean} isKept */
  endDrawing(isKept) {
    if (!isKept) announce(texts.boxRemoved);
    const { form } = this;
    if (!form) return;
    const name = find(form, "[name=name]", HTMLInputElement);
    (name.value ? find(form, "button:not([type=button])") : name).focus();
  }

  /**
   * Add or remove a finding as its form says.
   *
   * @param {HTMLFormElement} form
   */
  async submit(form) {
    try {
      await post(form.action, new FormData(form));
      this.showProblem("");
    } catch (error) {
      this.showProblem(texts.findingNotSaved(error instanceof RequestError ? error.message : texts.tryAgain));
      return;
    }
    if (form === this.form) {
      form.reset();
      this.box.set(null);
    }
    await this.reload();
    byId("reader-findings-title").focus();
  }

  /** Show the boxes that lie on the image that is shown. */
  showBoxes() {
    const image = this.shownImage();
    if (this.box.rectangle) this.box.set(null);
    if (!image) return;
    const { uid, columns, rows } = image.dataset;
    const own = findAll(this.panels, "[data-box]").filter(({ dataset }) => dataset.uid === uid);
    this.box.showOthers(
      own.map(({ dataset }) => ({
        name: dataset.name ?? "",
        box: dataset.box ?? "",
        columns: Number(columns),
        rows: Number(rows),
      })),
    );
  }
}
