// Keeps the banner of critical results current on a page that stays open.
import { announce, poll } from "./page.js";

const banner = document.getElementById("critical-banner");
// A page that reports an error has no banner.
if (banner) {
  poll(Number(banner.dataset.pollSeconds), async () => {
    // A session that has ended must not reload the page here: a reader may be typing.
    const response = await fetch(banner.dataset.url ?? "", { headers: { "X-Fragment": "1" }, redirect: "manual" });
    if (!response.ok) throw new Error(`The banner answered with ${response.status}.`);
    show(banner, await response.text());
  });
}

/**
 * @param {HTMLElement} banner
 * @param {string} html
 */
function show(banner, html) {
  const before = count(banner);
  if (html.trim() === banner.innerHTML.trim()) return;
  const hadFocus = banner.contains(document.activeElement);
  banner.innerHTML = html;
  if (hadFocus) banner.querySelector("a")?.focus({ preventScroll: true });
  if (count(banner) > before) announce(banner.textContent.trim());
}

/**
 * How many results wait, by the banner that is shown.
 *
 * @param {HTMLElement} banner
 */
function count(banner) {
  return Number(banner.querySelector("[data-critical]")?.getAttribute("data-critical") ?? 0);
}
