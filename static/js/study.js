// The study page: the film with the AI's overlay, the reader's verdicts, the signature, and results that arrive later.
import { announce, byId, find, findAll, isTyping, poll } from "./page.js";
import { RequestError, requestHtml, requestJson } from "./requests.js";
import { reading } from "./texts.js";
import { Viewer } from "./viewer.js";

const POLL_SECONDS = 1.5;
const SLOW_POLL_SECONDS = 15;
const desk = byId("desk");
const panels = byId("panels");
const film = byId("film", HTMLImageElement);
const overlay = byId("overlay", HTMLImageElement);
const opacity = byId("opacity", HTMLInputElement);
const viewer = new Viewer();
/** @type {HTMLElement | null} */
let picked = null;
let overlayOn = false;
let nextSlow = Date.now() + 1000 * SLOW_POLL_SECONDS;

byId("tools").hidden = false;
button("help").hidden = false;
film.addEventListener("error", () => showFilmError(true));
if (film.complete && !film.naturalWidth) showFilmError(true);
overlay.addEventListener("error", () => {
  pick(picked, false);
  announce("The map cannot be shown");
  showProblem("The map cannot be shown. Reload the page; if it stays so, tell your administrator.");
});
opacity.addEventListener("input", () => changeOpacity(0));
start();
poll(POLL_SECONDS, follow);

function start() {
  // The reader looks at the image first: a map is shown only when asked for.
  pick(row("tr.is-flagged[data-map]") ?? row("tr[data-map]"), false);
}

/**
 * The first row of the findings that a selector names.
 *
 * @param {string} selector
 */
function row(selector) {
  return findAll(panels, selector)[0] ?? null;
}

/** @param {string} action */
function button(action) {
  return find(document, `[data-action="${action}"]`, HTMLButtonElement);
}

/** @param {boolean} isShown */
function showFilmError(isShown) {
  byId("film-error").hidden = !isShown;
}

// Overlay

/**
 * Pick a finding, and show its map over the film or none.
 *
 * @param {HTMLElement | null} chosen a row of the findings
 * @param {boolean} show
 */
function pick(chosen, show) {
  // Only the image that the AI read has maps.
  if (show) showImage(row("[data-main]"));
  picked = chosen;
  overlayOn = show && chosen?.dataset.map !== undefined;
  for (const each of findAll(panels, "tr[data-label]")) {
    const isShown = each === chosen && overlayOn;
    each.classList.toggle("is-shown", isShown);
    find(each, ".pick").setAttribute("aria-pressed", String(isShown));
  }
  const toggle = button("overlay");
  toggle.setAttribute("aria-pressed", String(overlayOn));
  toggle.disabled = !row("tr[data-map]");
  for (const id of ["overlay-tag", "scale", "overlay"]) byId(id).hidden = !overlayOn;
  if (chosen && overlayOn) drawOverlay(chosen.dataset);
}

/** @param {DOMStringMap} finding */
function drawOverlay({ label = "", map, name = "", localised }) {
  // The finding's key makes the address of another result another address; it names no patient.
  overlay.src = `${desk.dataset.heatmapUrl?.replace("LABEL", label)}?of=${map}`;
  overlay.alt = `Where the model looked for ${name}`;
  changeOpacity(0);
  const warning = localised === undefined ? ", location not validated" : "";
  byId("overlay-tag").textContent = `AI overlay: ${name}${warning}`;
  byId("scale-name").textContent = name;
}

/** @param {HTMLElement | null} chosen a row of the findings */
function choose(chosen) {
  if (!chosen) return;
  if (!("map" in chosen.dataset)) {
    announce(`${chosen.dataset.name}: far below its operating point, no map is shown`);
    pick(chosen, false);
    return;
  }
  const show = !(chosen === picked && overlayOn);
  pick(chosen, show);
  announce(show ? `AI overlay shown for ${chosen.dataset.name}` : "AI overlay hidden");
}

/** @param {HTMLElement | null} chosen the button of an image */
function showImage(chosen) {
  if (!chosen || chosen.getAttribute("aria-pressed") === "true") return;
  for (const each of findAll(panels, ".image")) each.setAttribute("aria-pressed", String(each === chosen));
  loadFilm({ image: chosen.dataset.number ?? "" });
}

/** @param {Record<string, string>} query */
function loadFilm(query) {
  showFilmError(false);
  film.src = `${desk.dataset.filmUrl}?${new URLSearchParams(query)}`;
}

/** @param {number} step */
function changeOpacity(step) {
  opacity.value = String(Number(opacity.value) + step);
  overlay.style.opacity = String(Number(opacity.value) / 100);
}

// Actions

/** @type {Record<string, (element?: HTMLElement) => void>} */
const actions = {
  pick: (element) => choose(element?.closest("tr") ?? null),
  image: (element) => {
    showImage(element ?? null);
    if (!("main" in (element?.dataset ?? {}))) pick(picked, false);
  },
  overlay: () => choose(picked ?? row("tr[data-map]")),
  "zoom-in": () => viewer.zoomBy(1.3),
  "zoom-out": () => viewer.zoomBy(1 / 1.3),
  reset: () => {
    viewer.reset();
    showInverted(false);
  },
  invert: () => showInverted(viewer.invert()),
  help: () => byId("help", HTMLDialogElement).showModal(),
  "close-dialog": (element) => element?.closest("dialog")?.close(),
  sign: (element) => {
    element?.setAttribute("disabled", "");
    byId("sign-form", HTMLFormElement).submit();
  },
};
/** @type {Record<string, string>} */
const KEYS = { h: "overlay", i: "invert", r: "reset", "?": "help", z: "zoom-in", Z: "zoom-out" };

/** @param {boolean} inverted */
function showInverted(inverted) {
  button("invert").setAttribute("aria-pressed", String(inverted));
}

document.addEventListener("click", ({ target }) => {
  const element = target instanceof Element ? target.closest("[data-action]") : null;
  if (element instanceof HTMLElement) actions[element.dataset.action ?? ""]?.(element);
});

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  const { key } = event;
  const action = KEYS[key] ?? KEYS[key.toLowerCase()];
  if (/^[1-9]$/.test(key)) choose(findAll(panels, "tr[data-label]")[Number(key) - 1] ?? null);
  else if (key === "+" || key === "=") changeOpacity(10);
  else if (key === "-") changeOpacity(-10);
  else if (key.toLowerCase() === "s") goToImpression(event);
  else if (action) actions[action]();
});

/** @param {KeyboardEvent} event */
function goToImpression(event) {
  const impression = document.getElementById("impression");
  if (!impression) return;
  event.preventDefault();
  impression.focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  if (form.id === "sign-form") {
    event.preventDefault();
    byId("sign-dialog", HTMLDialogElement).showModal();
  } else if ("review" in form.dataset && event.submitter instanceof HTMLButtonElement) {
    event.preventDefault();
    review(form, event.submitter);
  }
});

/**
 * Save the reader's verdict on a finding.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLButtonElement} chosen
 */
async function review(form, chosen) {
  const body = new FormData(form);
  body.append("verdict", chosen.value);
  try {
    await requestJson(form.action, { method: "POST", body });
  } catch (error) {
    const text = `The verdict was not saved. ${error instanceof RequestError ? error.message : "Try again."}`;
    announce(text);
    showProblem(text);
    return;
  }
  for (const each of findAll(form, ".verdict")) each.setAttribute("aria-pressed", String(each === chosen));
  announce(`${form.closest("tr")?.dataset.name}: ${chosen.value === "agree" ? "you agree" : "you disagree"}`);
}

/** @param {string} text */
function showProblem(text) {
  const line = document.createElement("div");
  line.className = "message error";
  line.textContent = text;
  byId("panels-content").prepend(line);
}

// Updates

async function follow() {
  const { open, token } = byId("panels-content").dataset;
  if (!open && Date.now() < nextSlow) return;
  nextSlow = Date.now() + 1000 * SLOW_POLL_SECONDS;
  const state = await requestJson(desk.dataset.stateUrl ?? "");
  if (state.token !== token) await update(state);
}

/** @param {{ token: string, status: string, status_text: string, positive_count: number | null, has_no_operating_points: boolean }} state */
async function update(state) {
  const typed = impressionField()?.value ?? "";
  const focused = document.activeElement?.id;
  if (document.querySelector("dialog[open]")) return;
  panels.innerHTML = await requestHtml(location.href);
  const field = impressionField();
  if (field) field.value = typed;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  loadFilm({ of: state.token.split(":")[0] });
  start();
  const isComplete = state.status === "complete";
  announce(isComplete ? reading(state.positive_count, state.has_no_operating_points) : state.status_text);
}

function impressionField() {
  return /** @type {HTMLTextAreaElement | null} */ (document.getElementById("impression"));
}
