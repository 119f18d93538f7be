// The texts of a page's script, in the language in which the server rendered the page.
import { byId, findAll } from "./page.js";

/** @type {Map<string, string> | null} */
let texts = null;

/**
 * A text of the page's template `#texts`, with its values filled in.
 *
 * @param {string} name
 * @param {Record<string, string | number>} [values]
 */
export function textOf(name, values = {}) {
  texts ??= new Map(
    findAll(byId("texts", HTMLTemplateElement).content, "li").map((each) => [
      each.dataset.text ?? "",
      each.textContent,
    ]),
  );
  const text = texts.get(name);
  if (text === undefined) return "";
  return text.replace(/\{(\w+)\}/g, (whole, key) => String(values[key] ?? whole));
}
