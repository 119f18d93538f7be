// The keys of a page. The list that `?` shows is the only place that says which key does what.
import { findAll, isTyping } from "./page.js";

/**
 * @typedef {{ run: string, repeats: boolean, typing: boolean }} Key
 *   the action's name; whether it runs again while the key is held; whether it runs while the user types
 */

/**
 * The keys that a list names: `data-keys` of its rows has them, with spaces between, and `data-run` the action.
 *
 * @param {HTMLElement} list
 * @returns {Map<string, Key>}
 */
export function keysOf(list) {
  const keys = new Map();
  for (const { dataset } of findAll(list, "[data-run]")) {
    for (const name of (dataset.keys ?? "").split(" "))
      keys.set(name, { run: dataset.run ?? "", repeats: "repeats" in dataset, typing: name.startsWith("Ctrl+") });
  }
  return keys;
}

/**
 * Run the action of each key. A key of a field, of a dialog or of the browser is left alone.
 *
 * @param {Map<string, Key>} keys
 * @param {Record<string, (event: KeyboardEvent) => void>} actions
 */
export function listenForKeys(keys, actions) {
  document.addEventListener("keydown", (event) => {
    const key = keyOf(keys, event);
    if (!key || event.defaultPrevented || event.isComposing) return;
    if (event.target instanceof Element && event.target.closest("dialog[open]")) return;
    if (isTyping(event) && !key.typing) return;
    if (event.repeat && !key.repeats) return;
    event.preventDefault();
    actions[key.run](event);
  });
}

/**
 * @param {Map<string, Key>} keys
 * @param {KeyboardEvent} event
 */
function keyOf(keys, event) {
  if (event.ctrlKey || event.metaKey) return event.altKey ? undefined : keys.get(`Ctrl+${event.key}`);
  // Some keys differ by Shift; for the others Caps Lock makes no difference.
  return keys.get(event.key) ?? keys.get(event.key.toLowerCase());
}
