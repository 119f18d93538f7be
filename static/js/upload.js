// The upload page: sends each file by itself, with its progress. PNG and JPEG wait for the user's confirmation.
import { listenForFiles } from "./drop_zone.js";
import { announce, byId, copyOf, find } from "./page.js";
import { refusal } from "./requests.js";

/** @typedef {{ file: File, line: HTMLElement, details: FormData }} Upload a file, its line on the page and its details */
/** @typedef {{ name?: string, outcome: keyof typeof OUTCOMES, detail?: string, study_url?: string }} Outcome of one file */

const PARALLEL = 2;
const OUTCOMES = { stored: "Stored", known: "Already stored", refused: "Refused" };
const form = byId("upload", HTMLFormElement);
const isFrontal = byId("is_frontal", HTMLInputElement);
/** @type {Upload[]} */
const queue = [];
/** @type {Upload[]} */
const awaitingConfirmation = [];
let running = 0;

listenForFiles(byId("drop"), byId("files", HTMLInputElement), add);
isFrontal.addEventListener("change", sendConfirmed);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeunload", (event) => {
  if (running || queue.length) event.preventDefault();
});

/** @param {File[]} files */
function add(files) {
  for (const file of files) {
    const upload = { file, line: newLine(file.name), details: new FormData(form) };
    if (file.size > Number(form.dataset.maxBytes)) {
      finish(upload.line, { outcome: "refused", detail: "The file is larger than the limit." });
    } else if (isPicture(file) && !isFrontal.checked) {
      show(upload.line, "", "Waits for your confirmation");
      awaitingConfirmation.push(upload);
    } else {
      queue.push(upload);
    }
  }
  byId("frontal-hint").hidden = awaitingConfirmation.length === 0;
  if (awaitingConfirmation.length) isFrontal.focus();
  startNext();
}

/** @param {File} file */
function isPicture(file) {
  return /^image\/(png|jpeg)$/.test(file.type) || /\.(png|jpe?g)$/i.test(file.name);
}

function sendConfirmed() {
  if (!isFrontal.checked) return;
  byId("frontal-hint").hidden = true;
  queue.push(...awaitingConfirmation.splice(0).map((upload) => ({ ...upload, details: new FormData(form) })));
  startNext();
}

function startNext() {
  while (running < PARALLEL) {
    const upload = queue.shift();
    if (!upload) return;
    send(upload);
  }
}

/**
 * A file is sent with the form's values at its confirmation, even if they change while it waits.
 *
 * @param {Upload} upload
 */
function send({ file, line, details }) {
  running += 1;
  details.delete("files");
  details.delete("complete");
  details.append("files", file, file.name);
  // The last field: the server sees that the form is not cut off.
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
    showResponse(line, request);
    startNext();
    if (!running && !queue.length) finishBatch();
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
function showResponse(line, { status, response }) {
  if (status !== 200 || !Array.isArray(response)) {
    finish(line, { outcome: "refused", detail: refusal(status, response) });
    return;
  }
  /** @type {Outcome[]} a ZIP file has several */
  const outcomes = response;
  let at = line;
  outcomes.forEach((outcome, index) => {
    if (index) {
      const added = lineFromTemplate(outcome.name ?? "");
      at.after(added);
      at = added;
    }
    if (outcomes.length > 1) find(at, ".name").textContent = outcome.name ?? "";
    finish(at, outcome);
  });
}

/** @param {string} name */
function newLine(name) {
  const line = lineFromTemplate(name);
  const list = byId("queue");
  list.hidden = false;
  list.append(line);
  show(line, "queued", "Waiting");
  return line;
}

/** @param {string} name */
function lineFromTemplate(name) {
  const line = copyOf("queue-item");
  find(line, ".name").textContent = name;
  return line;
}

/**
 * @param {HTMLElement} line
 * @param {string} cssClass
 * @param {string} text
 */
function show(line, cssClass, text) {
  const chip = find(line, ".chip");
  chip.className = `chip ${cssClass}`;
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
  if (awaitingConfirmation.length) return;
  for (const id of ["patient_id", "patient_name", "study_date"]) byId(id, HTMLInputElement).value = "";
  isFrontal.checked = false;
}

function summary() {
  /** @param {keyof typeof OUTCOMES} outcome */
  const count = (outcome) => byId("queue").querySelectorAll(`[data-outcome="${outcome}"]`).length;
  return `${count("stored")} stored, ${count("known")} already stored, ${count("refused")} refused`;
}
