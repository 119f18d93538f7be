// Finds a page's elements, and does what several pages do.

const anyElement = /** @type {any} */ (HTMLElement);

/**
 * The page's element with this id.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind] its class
 * @returns {NoInfer<T>}
 */
export function byId(id, kind = anyElement) {
  return find(document, `#${id}`, kind);
}

/**
 * The first element below `root` that the selector names.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} [kind] its class
 * @returns {NoInfer<T>}
 */
export function find(root, selector, kind = anyElement) {
  const element = root.querySelector(selector);
  if (element instanceof kind) return element;
  throw new TypeError(`This page has no ${kind.name} ${selector}.`);
}

/**
 * All elements below `root` that the selector names.
 *
 * @param {ParentNode} root
 * @param {string} selector
 */
export function findAll(root, selector) {
  return [...root.querySelectorAll(selector)].filter((element) => element instanceof HTMLElement);
}

/**
 * A copy of the first element in a `<template>`.
 *
 * @param {string} id of the template
 */
export function copyOf(id) {
  return find(document.importNode(byId(id, HTMLTemplateElement).content, true), "*");
}

/**
 * Let screen readers say a text.
 *
 * @param {string} text
 */
export function announce(text) {
  byId("announce").textContent = text;
}

/**
 * Whether a key belongs to a field, a dialog or the browser, and so is no shortcut of the page.
 *
 * @param {KeyboardEvent} event
 */
export function isTyping(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  // Sliders and ticks take no letters.
  const fields = "input:not([type=range], [type=checkbox]), textarea, select, dialog[open]";
  return event.target instanceof Element && event.target.closest(fields) !== null;
}

/**
 * Call a function every few seconds while the page is visible; less often after each failure.
 *
 * @param {number} seconds
 * @param {() => Promise<boolean | void>} load ends the calls with false
 */
export function poll(seconds, load) {
  let failures = 0;
  const turn = async () => {
    if (document.visibilityState === "visible") {
      try {
        if ((await load()) === false) return;
        failures = 0;
      } catch {
        failures += 1;
      }
    }
    setTimeout(turn, 1000 * seconds * Math.min(2 ** failures, 16));
  };
  setTimeout(turn, 1000 * seconds);
}
