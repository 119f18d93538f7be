// The forms of the report on the page: their drafts, what became of it, two texts that contradict each other, and leaving.

import { Draft } from "./drafts.js";
import { announce, find, findAll } from "./page.js";
import { post } from "./session.js";
import { texts } from "./study_texts.js";

/** @typedef {import("./drafts.js").State} State */

const LEAVING_MS = 3000;
/** @type {State[]} */
const QUIET = ["typing", "unchanged", "saving", "saved"];

export class ReportForms {
  /** @param {HTMLElement} panels */
  constructor(panels) {
    this.panels = panels;
    /** @type {Draft[]} */
    this.drafts = [];
    /** @type {WeakMap<HTMLFormElement, State>} */
    this.states = new WeakMap();
    this.connect();
    this.listen();
  }

  /** Take the forms that are on the page now. */
  connect() {
    const forms = findAll(this.panels, "form[data-study]");
    for (const draft of this.drafts) if (!forms.includes(draft.form)) draft.pause();
    this.drafts = this.drafts.filter((draft) => forms.includes(draft.form));
    for (const form of forms)
      if (form instanceof HTMLFormElement && !this.of(form)) this.drafts.push(this.draftOf(form));
  }

  /** @param {HTMLFormElement} form */
  draftOf(form) {
    const { draftUrl = "", user = "", study = "", kind = "", revision = "0" } = form.dataset;
    return new Draft(
      form,
      { user, study, kind, revision: Number(revision) },
      (fields) => post(draftUrl, fields, true),
      (state, detail) => this.show(form, state, detail),
    );
  }

  /** @param {Element | null} form */
  of(form) {
    return this.drafts.find((draft) => draft.form === form) ?? null;
  }

  get isUnsaved() {
    return this.drafts.some((draft) => draft.isUnsaved);
  }

  /** Whether newer forms of the server must not take the place of these. */
  get isInUse() {
    return this.isUnsaved || this.drafts.some((draft) => draft.form.contains(document.activeElement));
  }

  async save() {
    return (await Promise.all(this.drafts.map((draft) => draft.save()))).every(Boolean);
  }

  /**
   * @param {HTMLFormElement} form
   * @param {State} state
   * @param {{ at?: string, message?: string, stored?: import("./drafts.js").Stored }} detail
   */
  show(form, state, { at = "", message = "", stored }) {
    const line = find(form, "[data-draft-state]");
    line.dataset.draftState = state;
    line.textContent = {
      typing: texts.typing,
      unchanged: "",
      saving: texts.saving,
      saved: texts.saved(timeOf(at)),
      offline: texts.offline,
      "signed-out": texts.signedOut,
      conflict: texts.conflict,
      restored: texts.restored,
      refused: texts.notSaved(message),
    }[state];
    find(form, "[data-sign-in]").hidden = state !== "signed-out";
    const conflict = find(form, "[data-conflict]");
    conflict.hidden = state !== "conflict";
    if (stored) {
      find(conflict, "[data-mine]").textContent = find(form, "[name=impression]", HTMLTextAreaElement).value;
      find(conflict, "[data-stored]").textContent = stored.impression;
      find(conflict, "[data-by]").textContent = [stored.saved_by, timeOf(stored.saved_at ?? "")]
        .filter(Boolean)
        .join(", ");
    }
    // A screen reader hears what needs the reader, and not each time that a text is saved.
    if (state !== this.states.get(form) && !QUIET.includes(state)) announce(line.textContent);
    this.states.set(form, state);
  }

  listen() {
    document.addEventListener("visibilitychange", () => this.save());
    for (const name of ["focus", "pagehide"]) window.addEventListener(name, () => this.save());
    window.addEventListener("beforeunload", (event) => {
      if (this.isUnsaved) event.preventDefault();
    });
    // The page stays where the session has ended: it alone has the text.
    document.addEventListener("signed-out", (event) => {
      if (this.isUnsaved) event.preventDefault();
    });
    document.addEventListener("click", (event) => this.leave(event));
  }

  /**
   * A link waits until the text is saved. Where it cannot be saved, the browser asks.
   *
   * @param {MouseEvent} event
   */
  async leave(event) {
    const link = event.target instanceof Element ? event.target.closest("a[href]:not([target], [download])") : null;
    const isOther = event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented;
    if (!(link instanceof HTMLAnchorElement) || isOther || !this.isUnsaved) return;
    event.preventDefault();
    await Promise.race([this.save(), new Promise((resolve) => setTimeout(resolve, LEAVING_MS))]);
    location.assign(link.href);
  }
}

/** @param {string} iso a time; "" for none */
function timeOf(iso) {
  if (!iso) return "";
  return new Date(iso).toLocaleTimeString(document.documentElement.lang, {
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
}
