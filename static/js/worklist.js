import { announce, byId, fragment, isTyping, poll } from "./page.js";

const list = byId("worklist");
const live = byId("live");
let shown = null;

live.hidden = false;
poll(Number(list.dataset.pollSeconds), refresh);

async function refresh() {
  let html;
  try {
    html = await fragment(location.href);
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

function differs(html) {
  const fresh = document.createElement("div");
  fresh.innerHTML = html;
  return fresh.textContent.replace(/\s+/g, " ") !== list.textContent.replace(/\s+/g, " ");
}

function replace(html) {
  const focused = document.activeElement.closest("#worklist tr")?.dataset.key;
  list.innerHTML = html;
  if (focused) list.querySelector(`tr[data-key="${focused}"] .open-study`)?.focus({ preventScroll: true });
}

function statuses() {
  return new Map([...list.querySelectorAll("tr[data-key]")].map((row) => [row.dataset.key, row.dataset.status]));
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("text").focus();
    return;
  }
  const step = { j: 1, k: -1 }[event.key.toLowerCase()];
  if (!step) return;
  const links = [...list.querySelectorAll(".open-study")];
  const at = links.indexOf(document.activeElement);
  links[at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
});
