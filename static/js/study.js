// The study page: the film with the AI's overlay, verdicts, the report, and results that arrive later.
import { ContourNames } from "./contour_names.js";
import { FilmTools } from "./film_tools.js";
import { FullDepth } from "./full_depth.js";
import { Gestures } from "./gestures.js";
import { keysOf, listenForKeys } from "./keys.js";
import { Lines, scaleOf } from "./lines.js";
import { listenForTexts } from "./macros.js";
import { Magnifier } from "./magnifier.js";
import { goToNext, prefetchNext } from "./next_study.js";
import { Overlay } from "./overlay.js";
import { announce, byId, find, findAll, poll } from "./page.js";
import { Panels } from "./panels.js";
import { Priors } from "./priors.js";
import { ReaderFindings } from "./reader_findings.js";
import { ReportForms } from "./report_forms.js";
import { FollowedJson, requestHtml } from "./requests.js";
import { post } from "./session.js";
import { Sides } from "./sides.js";
import { Signing } from "./signing.js";
import { texts } from "./study_texts.js";
import { reading } from "./texts.js";
import { Verdicts } from "./verdicts.js";
import { Viewer } from "./viewer.js";

const POLL_SECONDS = 1.5;
const SLOW_POLL_SECONDS = 15;
const desk = byId("desk");
const root = byId("panels");
const film = byId("film", HTMLImageElement);
const pane = find(document, ".viewer");
const viewer = new Viewer(pane);
const gestures = new Gestures(viewer);
const tools = new FilmTools(viewer, gestures);
const lines = new Lines(viewer, gestures, pane, () => scaleOf(shownImage()?.dataset ?? {}));
const magnifier = new Magnifier(viewer, gestures, pane);
const fullDepth = new FullDepth(viewer, pane);
const priors = new Priors(viewer, root);
const panels = new Panels(root);
const forms = new ReportForms(root);
const verdicts = new Verdicts(root, desk.dataset.restUrl ?? "", (text) => showProblem(text, "verdict"));
const signing = new Signing(verdicts, (form) => forms.of(form));
const sides = new Sides(viewer, () => shownImage()?.dataset ?? {});
const names = new ContourNames(viewer, find(pane, ".contour-names", /** @type {any} */ (SVGElement)));
const overlay = new Overlay(root, desk.dataset.heatmapUrl ?? "", names, () => showImage(mainImage()));
const state = new FollowedJson(desk.dataset.stateUrl ?? "");
const findings = new ReaderFindings(
  root,
  shownImage,
  load,
  (text) => showProblem(text, "finding"),
  (at) => viewer.shareAt(at),
);
let nextSlow = Date.now() + 1000 * SLOW_POLL_SECONDS;

find(document, '[data-action="help"]').hidden = false;
viewer.changed = () => {
  tools.update();
  lines.draw();
  magnifier.draw();
  sides.draw();
  names.draw();
  priors.presentChanged();
};
viewer.changed();
showFullDepth();
film.addEventListener("error", () => showFilmError(true));
if (film.complete && !film.naturalWidth) showFilmError(true);
overlay.image.addEventListener("error", () => {
  overlay.pick(overlay.picked, false);
  announce(texts.mapFailed);
  showProblem(texts.mapFailedHelp, "map");
});
overlay.start(isOverlayWanted());
prefetchNext();
listenForTexts(document);
poll(POLL_SECONDS, follow);

/** Whether the hospital wants the overlay as soon as a study is opened. */
function isOverlayWanted() {
  return desk.dataset.aiDisplay === "on";
}

/** @param {boolean} isShown */
function showFilmError(isShown) {
  byId("film-error").hidden = !isShown;
}

/**
 * Say what went wrong, in the place of what went wrong before with things of the same kind.
 *
 * @param {string} text empty where it is mended
 * @param {string} kind
 */
function showProblem(text, kind) {
  for (const old of findAll(root, `[data-problem-of="${kind}"]`)) old.remove();
  if (!text) return;
  const line = document.createElement("div");
  line.className = "message error";
  line.dataset.problemOf = kind;
  line.textContent = text;
  byId("panels-content").prepend(line);
}

// Images

function mainImage() {
  return findAll(root, ".image[data-main]")[0] ?? null;
}

/** What says which image is shown: its button, or its line where the study has only one image. */
function shownImage() {
  return findAll(root, '.image[aria-pressed="true"]')[0] ?? findAll(root, ".image")[0] ?? null;
}

/** @param {HTMLElement | null} chosen the button of an image */
function showImage(chosen) {
  if (chosen?.getAttribute("aria-pressed") !== "false") return;
  for (const each of findAll(root, "button.image")) each.setAttribute("aria-pressed", String(each === chosen));
  viewer.clear();
  loadFilm({ image: chosen.dataset.number ?? "" });
  findings.showBoxes();
  priors.mark();
}

/** @param {Record<string, string>} query */
function loadFilm(query) {
  showFilmError(false);
  viewer.open(`${desk.dataset.filmUrl}?${new URLSearchParams(query)}`);
  showFullDepth();
}

function showFullDepth() {
  const { address, syntax } = shownImage()?.dataset ?? {};
  fullDepth.show(address, syntax);
}

// Actions

/** @type {Record<string, (element: HTMLElement) => void>} what the page's buttons do */
const buttonActions = {
  pick: (element) => overlay.choose(element.closest("tr")),
  image: (element) => {
    showImage(element);
    if (!("main" in element.dataset)) overlay.pick(overlay.picked, false);
  },
  overlay: () => overlay.toggle() || announce(texts.overlayAbsent),
  "keep-overlay": () => overlay.keep(),
  compare: (element) => priors.toggle(element),
  "close-prior": () => priors.close(),
  ...tools.actions,
  help,
  "close-dialog": (element) => element.closest("dialog")?.close(),
  sign: () => signing.submit(),
  "draw-box": () => findings.draw(),
  "keep-mine": (element) => forms.of(element.closest("form"))?.keepMine(),
  "take-stored": (element) => forms.of(element.closest("form"))?.takeStored(),
};

/** @type {Record<string, (event: KeyboardEvent) => void>} what the keys do that the list of keys names */
const keyActions = {
  finding: ({ key }) => overlay.choose(overlay.rows[Number(key) - 1] ?? null),
  "next-finding": () => overlay.move(1),
  "previous-finding": () => overlay.move(-1),
  overlay: ({ timeStamp }) => overlay.press(timeStamp),
  "keep-overlay": () => overlay.keep(),
  compare: () => priors.toggleFirst(),
  "overlay-mode": () => announce(overlay.layers.nextMode()),
  "more-opacity": () => overlay.changeOpacity(10),
  "less-opacity": () => overlay.changeOpacity(-10),
  agree: () => verdicts.press(overlay.picked, "agree"),
  disagree: () => verdicts.press(overlay.picked, "disagree"),
  "agree-rest": () => {
    // At once: what the reader types next is text.
    goToImpression();
    verdicts.agreeWithRest();
  },
  "add-finding": () => findings.open(),
  impression: goToImpression,
  "sign-next": signOrCommit,
  next: goToNext,
  ...tools.actions,
  help,
};
listenForKeys(keysOf(byId("help")), keyActions);

function help() {
  byId("help", HTMLDialogElement).showModal();
}

function goToImpression() {
  const field = findAll(root, "#impression, #amended-impression")[0];
  field?.closest("details")?.setAttribute("open", "");
  field?.focus();
  // A browser puts the caret before a text that the page came with; the reader goes on behind it.
  if (field instanceof HTMLTextAreaElement && field.selectionEnd === 0) field.setSelectionRange(-1, -1);
}

function signOrCommit() {
  const form = document.activeElement?.closest("form[data-study]") ?? document.getElementById("commit-form");
  if (form instanceof HTMLFormElement && form.id !== "sign-form") form.requestSubmit();
  else signing.sign(true, false);
}

document.addEventListener("click", ({ target }) => {
  const element = target instanceof Element ? target.closest("[data-action]") : null;
  if (element instanceof HTMLElement) buttonActions[element.dataset.action ?? ""]?.(element);
});

// Escape leaves a field, so that the keys of the page work again.
document.addEventListener("keydown", ({ key, target, isComposing }) => {
  const field = target instanceof Element ? target.closest("textarea, input:not([type=range]), select") : null;
  if (key === "Escape" && !isComposing && field && !field.closest("dialog")) byId("stage").focus();
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  const { submitter } = event;
  if (form.id === "sign-form") {
    event.preventDefault();
    signing.sign(submitter instanceof HTMLButtonElement && submitter.name === "next", true);
  } else if ("review" in form.dataset && submitter instanceof HTMLButtonElement) {
    event.preventDefault();
    verdicts.give(submitter);
  } else if ("readerFinding" in form.dataset) {
    event.preventDefault();
    findings.submit(form);
  } else if ("study" in form.dataset) {
    event.preventDefault();
    send(form);
  }
});

/**
 * Send an impression that is committed, an amendment or an addendum, and show the page as it is then.
 *
 * @param {HTMLFormElement} form
 */
async function send(form) {
  const draft = forms.of(form);
  await draft?.pause();
  try {
    await post(form.action, new FormData(form));
  } catch (error) {
    draft?.typed();
    signing.refuse(form, error);
    return;
  }
  draft?.end();
  location.reload();
}

// Updates

async function follow() {
  const { open, token } = byId("panels-content").dataset;
  if (signing.isBusy || (!open && Date.now() < nextSlow)) return;
  nextSlow = Date.now() + 1000 * SLOW_POLL_SECONDS;
  const latest = await state.load();
  if (latest.token === token || signing.isBusy || document.querySelector("dialog[open]")) return;
  await load();
  // The panels come after the state and may show a newer one: what is said must be what is shown.
  const isSame = byId("panels-content").dataset.token === latest.token;
  const shown = isSame ? latest : await state.load();
  const isComplete = shown.status === "complete";
  announce(isComplete ? reading(shown.positive_count, shown.has_no_operating_points) : shown.status_text);
}

/** Load what the panels show now. The film changes where the AI has read another image than the one that is shown. */
async function load() {
  const { image } = byId("panels-content").dataset;
  const hadResult = overlay.rows.length > 0;
  const number = shownImage()?.dataset.number;
  if (!panels.replace(await requestHtml(location.href), forms.isInUse)) showProblem(texts.reportChanged, "report");
  forms.connect();
  const content = byId("panels-content").dataset;
  if (content.image !== image) loadFilm({ of: content.token?.split(":")[0] ?? "" });
  else
    for (const each of findAll(root, "button.image"))
      each.setAttribute("aria-pressed", String(each.dataset.number === number));
  if (hadResult) overlay.restore();
  else overlay.start(isOverlayWanted());
  findings.showBoxes();
  priors.mark();
}
