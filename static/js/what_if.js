// Shows the figures for the slider's threshold; the server has computed them for every step.
import { byId, findAll } from "./page.js";

/** @typedef {Record<string, number | null> & { threshold: number }} Step the figures of one threshold */

const DIGITS = new Map([
  ["flagged", 0],
  ["per_day", 1],
]);

if (document.getElementById("threshold")) listen(byId("threshold", HTMLInputElement));

/** @param {HTMLInputElement} slider */
function listen(slider) {
  /** @type {Step[]} */
  const steps = JSON.parse(byId(slider.dataset.steps ?? "").textContent);
  const cells = findAll(document, "#what-if [data-figure]");
  const byHand = document.querySelector('input[name="value"]');
  const strategy = document.querySelector('select[name="strategy"]');

  function show() {
    const step = steps[Number(slider.value)];
    for (const cell of cells) {
      const figure = cell.dataset.figure ?? "";
      cell.textContent = shown(step[figure], DIGITS.get(figure) ?? 3);
    }
    slider.setAttribute("aria-valuetext", shown(step.threshold, 3));
  }

  slider.addEventListener("input", () => {
    show();
    if (byHand instanceof HTMLInputElement) byHand.value = steps[Number(slider.value)].threshold.toFixed(4);
    if (strategy instanceof HTMLSelectElement) strategy.value = "manual";
  });
  show();
}

/**
 * A figure in the language of the page, as the server writes it.
 *
 * @param {number | null | undefined} figure
 * @param {number} digits after the decimal sign
 */
function shown(figure, digits) {
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false };
  return figure?.toLocaleString(document.documentElement.lang || "en", format) ?? "–";
}
