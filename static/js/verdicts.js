// The reader's verdicts on the AI's findings. The same verdict again takes it back.
import { announce, find, findAll } from "./page.js";
import { RequestError } from "./requests.js";
import { post } from "./session.js";
import { texts } from "./study_texts.js";

export class Verdicts {
  /**
   * @param {HTMLElement} panels
   * @param {string} restUrl the address that agrees with all other flagged findings
   * @param {(text: string) => void} showProblem an empty text takes the last one away
   */
  constructor(panels, restUrl, showProblem) {
    this.panels = panels;
    this.restUrl = restUrl;
    this.showProblem = showProblem;
    /** Requests go one after the other, so that the last key counts. */
    this.settled = Promise.resolve();
  }

  /** The flagged findings without a verdict. */
  get open() {
    return findAll(this.panels, "tr.is-flagged:has([data-review])").filter(
      (row) => !row.querySelector(".verdict[aria-pressed=true]"),
    );
  }

  /**
   * @param {HTMLElement | null} row
   * @param {string} verdict
   */
  press(row, verdict) {
    const button = row?.querySelector(`.verdict[data-verdict="${verdict}"]`);
    if (button instanceof HTMLButtonElement) this.give(button);
    else announce(texts.nothingToJudge);
  }

  /** @param {HTMLButtonElement} button of one verdict on one finding */
  give(button) {
    this.settled = this.settled.then(() => this.send(button));
    return this.settled;
  }

  /** @param {HTMLButtonElement} button */
  async send(button) {
    const form = find(button.closest("tr") ?? document, "form[data-review]", HTMLFormElement);
    const { name = "" } = button.closest("tr")?.dataset ?? {};
    const isTakenBack = button.getAttribute("aria-pressed") === "true";
    const verdict = isTakenBack ? "" : (button.dataset.verdict ?? "");
    const fields = new FormData(form);
    fields.set("verdict", verdict);
    if (!(await this.attempt(form.action, fields))) return;
    for (const each of findAll(form, ".verdict"))
      each.setAttribute("aria-pressed", String(each === button && !isTakenBack));
    this.count();
    announce(texts.verdictOn(name, verdict));
  }

  /** Agree with the AI on the flagged findings that have no verdict. */
  agreeWithRest() {
    this.settled = this.settled.then(() => this.sendRest());
    return this.settled;
  }

  async sendRest() {
    const { open } = this;
    if (!open.length) return announce(texts.allHaveVerdicts);
    const job = find(open[0], "[name=job]", HTMLInputElement).value;
    if (!(await this.attempt(this.restUrl, { job }))) return;
    for (const row of open) find(row, '.verdict[data-verdict="agree"]').setAttribute("aria-pressed", "true");
    this.count();
    announce(texts.agreedWithRest(open.length));
  }

  /**
   * @param {string} url
   * @param {FormData | Record<string, string>} fields
   */
  async attempt(url, fields) {
    try {
      await post(url, fields);
      this.showProblem("");
      return true;
    } catch (error) {
      const text = texts.verdictNotSaved(error instanceof RequestError ? error.message : texts.tryAgain);
      announce(text);
      this.showProblem(text);
      return false;
    }
  }

  /** Say how many flagged findings have no verdict. */
  count() {
    const rest = document.getElementById("rest");
    if (!rest) return;
    const { length } = this.open;
    rest.hidden = length === 0;
    find(rest, "[data-count]").textContent = texts.agreeWithRest(length);
  }
}
