// Inserts texts into an impression: a name after a full stop and the Tab key, or one that is picked from the list.
import { announce, find } from "./page.js";
import { post } from "./session.js";
import { fill, gettext } from "./texts.js";

const NAME = /(?:^|\s)\.([\p{L}\p{N}_-]+)$/u;

/**
 * Listen on a page whose form with the impression has a list of texts; also where the form is replaced later.
 *
 * @param {Document | HTMLElement} page
 */
export function listenForTexts(page) {
  page.addEventListener("keydown", (event) => {
    const field = event.target;
    if (!(event instanceof KeyboardEvent) || event.key !== "Tab" || event.shiftKey || event.isComposing) return;
    if (!(field instanceof HTMLTextAreaElement) || field.selectionStart !== field.selectionEnd) return;
    const name = NAME.exec(field.value.slice(0, field.selectionStart))?.[1];
    const option = name && optionOf(field.form, name);
    if (!option) return;
    event.preventDefault();
    insert(field, option, name.length + 1);
  });
  page.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest('[data-action="insert-text"]');
    if (!(button instanceof HTMLButtonElement) || !button.form) return;
    event.preventDefault();
    const option = find(button.form, "[data-text-picker] select", HTMLSelectElement).selectedOptions[0];
    insert(find(button.form, "textarea[name=impression]", HTMLTextAreaElement), option, 0);
  });
}

/**
 * @param {HTMLFormElement | null} form
 * @param {string} name
 */
function optionOf(form, name) {
  const options = form?.querySelectorAll("[data-text-picker] option") ?? [];
  return [...options].find((each) => each instanceof HTMLOptionElement && each.dataset.name === name.toLowerCase());
}

/**
 * Replace the characters before the cursor by an option's text.
 *
 * @param {HTMLTextAreaElement} field
 * @param {Element} option
 * @param {number} typed how many characters the text replaces
 */
async function insert(field, option, typed) {
  if (!(option instanceof HTMLOptionElement) || !field.form) return;
  const at = field.selectionStart - typed;
  const name = field.value.slice(at, at + typed);
  let text;
  try {
    text = option.dataset.text ?? (await textOfFindings(field.form, option.value));
  } catch (error) {
    showProblem(field.form, error instanceof Error ? error.message : String(error));
    return;
  }
  showProblem(field.form, "");
  // The reader may have typed on while the server answered: what was typed stays, and so does the caret behind it.
  const isThere = typed > 0 && field.value.slice(at, at + typed) === name;
  const [start, end] = isThere ? [at, at + typed] : [field.selectionStart, field.selectionEnd];
  field.setRangeText(text, start, end, field.selectionStart > end ? "preserve" : "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.focus();
  announce(fill(gettext("Inserted: %(text)s"), { text: text.slice(0, 80) }));
}

/**
 * The text that the server makes of the verdicts given so far.
 *
 * @param {HTMLFormElement} form
 * @param {string} which
 * @returns {Promise<string>}
 */
async function textOfFindings(form, which) {
  const { formAction } = find(form, '[data-action="insert-text"]', HTMLButtonElement);
  return (await post(formAction, { text: which })).text;
}

/**
 * @param {HTMLFormElement} form
 * @param {string} text empty where there is no problem any more
 */
function showProblem(form, text) {
  const problem = form.querySelector("[data-problem]");
  if (!(problem instanceof HTMLElement)) return;
  problem.textContent = text;
  problem.hidden = text === "";
  if (text) announce(text);
}
