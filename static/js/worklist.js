// The worklist: updates by itself and keeps the focus; `/` goes to the search, J and K through the studies.
import { announce, byId, findAll, isTyping, poll } from "./page.js";
import { requestHtml } from "./requests.js";

const list = byId("worklist");
const live = byId("live");
/** @type {string | null} */
let shown = null;

live.hidden = false;
poll(Number(list.dataset.pollSeconds), refresh);

async function refresh() {
  let html;
  try {
    html = await requestHtml(location.href);
  } catch (error) {
    live.classList.add("is-stale");
    live.textContent = "No connection; trying again";
    throw error;
  }
  live.classList.remove("is-stale");
  live.textContent = "Updates by itself";
  if (html === shown) return;
  const before = statuses();
  const isFirst = shown === null;
  shown = html;
  if (isFirst && !differs(html)) return;
  replace(html);
  const changed = [...statuses()].filter(([key, status]) => before.get(key) !== status).length;
  if (changed) announce(changed === 1 ? "One study changed" : `${changed} studies changed`);
}

/** @param {string} html */
function differs(html) {
  const fresh = document.createElement("div");
  fresh.innerHTML = html;
  return fresh.textContent.replace(/\s+/g, " ") !== list.textContent.replace(/\s+/g, " ");
}

/** @param {string} html */
function replace(html) {
  const key = document.activeElement?.closest("#worklist tr")?.getAttribute("data-key");
  list.innerHTML = html;
  if (!key) return;
  const link = list.querySelector(`tr[data-key="${key}"] .open-study`);
  if (link instanceof HTMLElement) link.focus({ preventScroll: true });
}

function statuses() {
  return new Map(findAll(list, "tr[data-key]").map((row) => [row.dataset.key, row.dataset.status]));
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("text", HTMLInputElement).focus();
    return;
  }
  const step = { j: 1, k: -1 }[event.key.toLowerCase()];
  if (!step) return;
  const links = findAll(list, ".open-study");
  const at = links.findIndex((link) => link.matches(":focus"));
  links[at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
});
