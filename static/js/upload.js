// The upload page: sends each file by itself, with its progress. PNG and JPEG wait for the user's confirmation.
import { listenForFiles } from "./drop_zone.js";
import { announce, byId, copyOf, find } from "./page.js";
import { refusal } from "./requests.js";

/** @typedef {{ file: File, line: HTMLElement, details: FormData }} Upload a file, its line on the page and its details */
/** @typedef {{ name?: string, outcome: keyof typeof OUTCOMES, detail?: string, study_url?: string }} Outcome of one file */

const PARALLEL = 2;
const OUTCOMES = { stored: "Stored", known: "Known already", refused: "Refused" };
const form = byId("upload", HTMLFormElement);
const isFrontal = byId("is_frontal", HTMLInputElement);
/** @type {Upload[]} */
const waiting = [];
/** @type {Upload[]} */
const held = [];
let running = 0;

listenForFiles(byId("drop"), byId("files", HTMLInputElement), add);
isFrontal.addEventListener("change", release);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeunload", (event) => {
  if (running || waiting.length) event.preventDefault();
});

/** @param {File[]} files */
function add(files) {
  for (const file of files) {
    const upload = { file, line: newLine(file.name), details: new FormData(form) };
    if (file.size > Number(form.dataset.maxBytes)) {
      finish(upload.line, { outcome: "refused", detail: "The file is larger than the limit." });
    } else if (isPicture(file) && !isFrontal.checked) {
      show(upload.line, "", "Waits for your confirmation");
      held.push(upload);
    } else {
      waiting.push(upload);
    }
  }
  byId("frontal-hint").hidden = held.length === 0;
  if (held.length) isFrontal.focus();
  next();
}

/** @param {File} file */
function isPicture(file) {
  return /^image\/(png|jpeg)$/.test(file.type) || /\.(png|jpe?g)$/i.test(file.name);
}

function release() {
  if (!isFrontal.checked) return;
  byId("frontal-hint").hidden = true;
  waiting.push(...held.splice(0).map((upload) => ({ ...upload, details: new FormData(form) })));
  next();
}

function next() {
  while (running < PARALLEL) {
    const upload = waiting.shift();
    if (!upload) return;
    send(upload);
  }
}

/**
 * A file is sent with the details of the moment when it was confirmed, also if they change while it waits.
 *
 * @param {Upload} upload
 */
function send({ file, line, details }) {
  running += 1;
  details.delete("files");
  details.delete("complete");
  details.append("files", file, file.name);
  details.append("complete", "1");
  // `fetch` does not say how much has been sent.
  const request = new XMLHttpRequest();
  const progress = find(line, "progress", HTMLProgressElement);
  show(line, "queued", "Sending");
  request.upload.addEventListener("progress", (event) => {
    progress.value = event.lengthComputable ? (100 * event.loaded) / event.total : 0;
    if (event.loaded === event.total) show(line, "running", "Checking");
  });
  request.addEventListener("loadend", () => {
    running -= 1;
    answer(line, request);
    next();
    if (!running && !waiting.length) finishBatch();
  });
  request.open("POST", location.pathname);
  request.setRequestHeader("Accept", "application/json");
  request.responseType = "json";
  request.send(details);
}

/**
 * @param {HTMLElement} line
 * @param {XMLHttpRequest} request
 */
function answer(line, { status, response }) {
  if (status !== 200 || !Array.isArray(response)) {
    finish(line, { outcome: "refused", detail: refusal(status, response) });
    return;
  }
  /** @type {Outcome[]} a ZIP file has several */
  const outcomes = response;
  let at = line;
  outcomes.forEach((outcome, index) => {
    if (index) {
      const added = blank(outcome.name ?? "");
      at.after(added);
      at = added;
    }
    if (outcomes.length > 1) find(at, ".name").textContent = outcome.name ?? "";
    finish(at, outcome);
  });
}

/** @param {string} name */
function newLine(name) {
  const line = blank(name);
  const queue = byId("queue");
  queue.hidden = false;
  queue.append(line);
  show(line, "queued", "Waiting");
  return line;
}

/** @param {string} name */
function blank(name) {
  const line = copyOf("queue-item");
  find(line, ".name").textContent = name;
  return line;
}

/**
 * @param {HTMLElement} line
 * @param {string} kind
 * @param {string} text
 */
function show(line, kind, text) {
  const chip = find(line, ".chip");
  chip.className = `chip ${kind}`;
  chip.textContent = text;
}

/**
 * @param {HTMLElement} line
 * @param {Outcome} outcome
 */
function finish(line, { outcome, detail, study_url: url }) {
  line.querySelector("progress")?.remove();
  line.dataset.outcome = outcome;
  show(line, outcome, OUTCOMES[outcome]);
  const place = find(line, ".detail");
  place.textContent = detail ? `${detail} ` : "";
  if (url) {
    const link = document.createElement("a");
    link.href = url;
    link.textContent = "Open the study";
    place.append(link);
  }
}

function finishBatch() {
  announce(summary());
  // The next image may be of another patient, so the details are cleared.
  if (held.length) return;
  for (const id of ["patient_id", "patient_name", "study_date"]) byId(id, HTMLInputElement).value = "";
  isFrontal.checked = false;
}

function summary() {
  /** @param {keyof typeof OUTCOMES} outcome */
  const count = (outcome) => byId("queue").querySelectorAll(`[data-outcome="${outcome}"]`).length;
  return `${count("stored")} stored, ${count("known")} known already, ${count("refused")} refused`;
}
