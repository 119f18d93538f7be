// The signature: what is missing is asked for first, and a refusal keeps the text where it is.
import { announce, byId, find, findAll } from "./page.js";
import { RequestError } from "./requests.js";
import { post } from "./session.js";
import { texts } from "./study_texts.js";

/**
 * @typedef {import("./drafts.js").Draft} Draft
 * @typedef {import("./verdicts.js").Verdicts} Verdicts
 */

export class Signing {
  /**
   * @param {Verdicts} verdicts
   * @param {(form: HTMLFormElement) => Draft | null} draftOf
   */
  constructor(verdicts, draftOf) {
    this.verdicts = verdicts;
    this.draftOf = draftOf;
    this.goesOn = false;
    /** Whether the signature is on its way; the page then loads nothing else. */
    this.isBusy = false;
  }

  get form() {
    const form = document.getElementById("sign-form");
    return form instanceof HTMLFormElement ? form : null;
  }

  /**
   * Sign, or ask for what is missing first.
   *
   * @param {boolean} goesOn whether the next study is opened
   * @param {boolean} isAsked whether the reader is asked in any case
   */
  async sign(goesOn, isAsked) {
    const { form } = this;
    if (!form) return;
    this.goesOn = goesOn;
    await this.verdicts.settled;
    for (const [name, text] of [
      ["impression", texts.impressionNeeded],
      ["password", texts.passwordNeeded],
    ]) {
      const field = form.querySelector(`[name=${name}]`);
      if (isField(field) && !field.value.trim()) return this.point(form, field, text);
    }
    const open = form.querySelector("[name=agree_rest]:checked") ? [] : this.verdicts.open;
    if (open.length || isAsked) this.ask(open.map(({ dataset }) => dataset.name ?? ""));
    else await this.submit();
  }

  /** @param {string[]} names of the flagged findings without a verdict */
  ask(names) {
    const missing = byId("sign-missing");
    missing.hidden = names.length === 0;
    missing.textContent = texts.signingAgrees(names);
    byId("sign-dialog", HTMLDialogElement).showModal();
  }

  /** The reader was asked, and signs. */
  async submit() {
    const { form } = this;
    if (!form) return;
    const draft = this.draftOf(form);
    this.isBusy = true;
    const buttons = findAll(document, "#sign-form button, #sign-dialog button");
    for (const each of buttons) each.setAttribute("disabled", "");
    // Another tab or person may have stored another text since.
    if (draft && !(await draft.save({ evenUnchanged: true }))) {
      this.open(buttons);
      return this.point(
        form,
        find(form, draft.conflict ? "[data-conflict] button" : "[name=impression]"),
        texts.textFirst,
      );
    }
    await draft?.pause();
    const fields = new FormData(form);
    if (this.verdicts.open.length) fields.set("agree_rest", "1");
    if (this.goesOn) fields.set("next", "1");
    try {
      const { address } = await post(form.action, fields);
      draft?.end();
      location.assign(address);
    } catch (error) {
      this.open(buttons);
      draft?.typed();
      this.refuse(form, error);
    }
  }

  /** @param {HTMLElement[]} buttons that the reader may press again */
  open(buttons) {
    this.isBusy = false;
    for (const each of buttons) each.removeAttribute("disabled");
    byId("sign-dialog", HTMLDialogElement).close();
  }

  /**
   * Say why the server refused the form.
   *
   * @param {HTMLFormElement} form
   * @param {unknown} error
   */
  refuse(form, error) {
    const reason = error instanceof RequestError ? error.message : texts.tryAgain;
    const code = error instanceof RequestError ? error.code : "";
    const password = form.querySelector("[name=password]");
    const isPassword = code.startsWith("password") && isField(password);
    if (isPassword) password.value = "";
    const field = isPassword ? password : find(form, "[name=impression]", HTMLTextAreaElement);
    this.point(form, field, form.id === "sign-form" ? texts.notSigned(reason) : texts.notSaved(reason));
  }

  /**
   * Say what is wrong, and go to the field that mends it.
   *
   * @param {HTMLFormElement} form
   * @param {HTMLElement} field
   * @param {string} text
   */
  point(form, field, text) {
    const problem = find(form, "[data-problem]");
    problem.textContent = text;
    problem.hidden = false;
    field.focus();
    announce(text);
  }
}

/**
 * @param {Element | null} element
 * @returns {element is HTMLInputElement | HTMLTextAreaElement}
 */
function isField(element) {
  return element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement;
}
