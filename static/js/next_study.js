// The next study of the list: its film is fetched while this one is read, so that it is there at once.
import { byId } from "./page.js";
import { requestJson } from "./requests.js";

const QUIET_MS = 1500;

/**
 * Fetch the next study's film when the browser has nothing else to do. The page itself is not fetched: the server
 * makes it in a fraction of the time, and it would be a study that counts as opened.
 */
export function prefetchNext() {
  const link = document.getElementById("next-study");
  if (!(link instanceof HTMLAnchorElement)) return;
  const idle = window.requestIdleCallback ?? setTimeout;
  setTimeout(() => idle(() => load(link.href)), QUIET_MS);
}

/** @param {string} url */
async function load(url) {
  if (document.visibilityState !== "visible") return;
  const next = await requestJson(url).catch(() => null);
  if (next?.film) new Image().src = next.film;
}

/** Go to the next study, as its link does. */
export function goToNext() {
  byId("next-study", HTMLAnchorElement).click();
}
