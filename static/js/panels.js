// The panels beside the film: the parts that changed on the server take the place of the old ones.
import { findAll } from "./page.js";

/** The tokens of forms differ each time that the server makes them. */
const TOKENS = /name="csrfmiddlewaretoken" value="[^"]*"/g;

export class Panels {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Map<string, string>} what the server sent last, by the part's name */
    this.sent = new Map(this.parts(root).map((part) => [nameOf(part), textOf(part)]));
  }

  /** @param {ParentNode} root */
  parts(root) {
    return findAll(root, "#panels-content > [data-part]");
  }

  /**
   * Show what the server has now. The focus stays, and so does a form in use, but for the parts in it.
   *
   * @param {string} html
   * @param {boolean} isFormInUse
   * @returns {boolean} false where the form in use is one that the server no longer has
   */
  replace(html, isFormInUse) {
    const focused = document.activeElement?.id;
    const page = new DOMParser().parseFromString(html, "text/html");
    const content = page.getElementById("panels-content");
    const current = this.root.querySelector("#panels-content");
    if (!content || !(current instanceof HTMLElement)) return true;
    Object.assign(current.dataset, content.dataset);
    let isKept = true;
    for (const part of this.parts(page)) {
      const name = nameOf(part);
      const old = findAll(current, `:scope > [data-part="${name}"]`).at(0);
      const text = textOf(part);
      // During an upgrade the server may have a part that this page does not know.
      if (!old || text === this.sent.get(name)) continue;
      if (isFormInUse && name === "report") {
        isKept = old.dataset.kind === part.dataset.kind;
        if (!isKept) continue;
        merge(old, part);
      } else {
        old.replaceWith(document.importNode(part, true));
      }
      this.sent.set(name, text);
    }
    if (focused && document.activeElement?.id !== focused)
      document.getElementById(focused)?.focus({ preventScroll: true });
    return isKept;
  }
}

/**
 * Take over a new report part, but for the text and what belongs to it: the form may go elsewhere now.
 *
 * @param {HTMLElement} old
 * @param {HTMLElement} part
 */
function merge(old, part) {
  const [form, fresh] = [old.querySelector("form"), part.querySelector("form")];
  for (const name of ["id", "action"]) form?.setAttribute(name, fresh?.getAttribute(name) ?? "");
  for (const inner of findAll(part, "[data-part]"))
    old.querySelector(`[data-part="${nameOf(inner)}"]`)?.replaceWith(document.importNode(inner, true));
}

/** @param {HTMLElement} part */
function nameOf(part) {
  return part.dataset.part ?? "";
}

/** @param {HTMLElement} part */
function textOf(part) {
  return part.outerHTML.replace(TOKENS, "");
}
