// The worklist: updates by itself, keeps focus and selection, can be used by keys, and comes back where it was left.
import { announce, byId, findAll, isTyping, poll } from "./page.js";
import { requestChangedHtml } from "./requests.js";

const list = byId("worklist");
const live = byId("live");
const help = byId("help", HTMLDialogElement);
const place = `worklist:${location.search}`;
let tag = "";

live.hidden = false;
byId("show-help").hidden = false;
byId("show-help").addEventListener("click", () => help.showModal());
comeBack();
addEventListener("pagehide", leave);
poll(Number(list.dataset.pollSeconds), refresh);
byId("change", HTMLFormElement).addEventListener("submit", (event) => {
  const isNone = !boxes().some((box) => box.checked);
  if (isNone) event.preventDefault();
  byId("none-selected").hidden = !isNone;
});
list.addEventListener("change", () => {
  byId("none-selected").hidden = true;
});

async function refresh() {
  let answer;
  try {
    answer = await requestChangedHtml(location.href, tag);
  } catch (error) {
    live.classList.add("is-stale");
    live.textContent = live.dataset.stale ?? "";
    throw error;
  }
  live.classList.remove("is-stale");
  live.textContent = live.dataset.live ?? "";
  const isFirst = tag === "";
  tag = answer.tag;
  if (answer.html === null || (isFirst && !differs(answer.html))) return;
  const before = statuses();
  replace(answer.html);
  const changed = [...statuses()].filter(([key, status]) => before.get(key) !== status).length;
  if (changed) announce(changed === 1 ? `${list.dataset.one}` : `${list.dataset.many} ${changed}`);
}

/** @param {string} html */
function differs(html) {
  const fresh = document.createElement("div");
  fresh.innerHTML = html;
  return fresh.textContent.replace(/\s+/g, " ") !== list.textContent.replace(/\s+/g, " ");
}

/** @param {string} html */
function replace(html) {
  const key = focusedKey();
  const selected = boxes().flatMap((box) => (box.checked ? [box.value] : []));
  list.innerHTML = html;
  for (const box of boxes()) box.checked = selected.includes(box.value);
  focusRow(key);
}

function boxes() {
  return findAll(list, "input[name=study]").filter((box) => box instanceof HTMLInputElement);
}

function statuses() {
  return new Map(findAll(list, "tr[data-key]").map((row) => [row.dataset.key, row.dataset.status]));
}

function focusedKey() {
  return document.activeElement?.closest("#worklist tr")?.getAttribute("data-key") ?? "";
}

/** @param {string} key of a study */
function focusRow(key) {
  const row = findAll(list, "tr[data-key]").find((each) => each.dataset.key === key);
  const link = row?.querySelector(".open-study");
  if (link instanceof HTMLElement) link.focus({ preventScroll: true });
}

// Leaving and coming back

function leave() {
  sessionStorage.setItem(place, JSON.stringify({ top: scrollY, key: focusedKey() }));
}

/** After a study, or after a change of the list, the page is where it was: at the same row, scrolled as before. */
function comeBack() {
  const [navigation] = performance.getEntriesByType("navigation");
  const isBack = navigation instanceof PerformanceNavigationTiming && navigation.type !== "navigate";
  const left = document.referrer ? new URL(document.referrer) : null;
  const isOurs =
    left?.origin === location.origin && (left.pathname.startsWith("/studies/") || left.href === location.href);
  const kept = sessionStorage.getItem(place);
  if (!kept || !(isBack || isOurs)) return;
  const { top, key } = JSON.parse(kept);
  scrollTo({ top, behavior: "instant" });
  focusRow(key);
}

// Keys

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "/") {
    event.preventDefault();
    byId("text", HTMLInputElement).focus();
  } else if (key === "?") help.showModal();
  else if (key === "j" || key === "ArrowDown") move(event, 1);
  else if (key === "k" || key === "ArrowUp") move(event, -1);
  else if (key === "x") select();
  else if (key === "n") follow("next");
  else if (key === "p") follow("prev");
});

/**
 * Move the focus to the next study, or to the one before it.
 *
 * @param {KeyboardEvent} event
 * @param {number} step
 */
function move(event, step) {
  const links = findAll(list, ".open-study");
  if (!links.length) return;
  event.preventDefault();
  const at = links.findIndex((link) => link.closest("tr")?.contains(document.activeElement));
  links[at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
}

function select() {
  const box = document.activeElement?.closest("#worklist tr")?.querySelector("input[name=study]");
  if (box instanceof HTMLElement) box.click();
}

/** @param {string} relation of the page's link */
function follow(relation) {
  const link = list.querySelector(`.pager a[rel=${relation}]`);
  if (link instanceof HTMLElement) link.click();
}
