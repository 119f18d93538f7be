import { announce, byId } from "./page.js";

const PARALLEL = 2;
const form = byId("upload");
const input = byId("files");
const drop = byId("drop");
const waiting = [];
const held = [];
let running = 0;

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("is-over"); });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("is-over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  add(entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...event.dataTransfer.files]);
});
// A file that is dropped beside the drop zone must not replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
byId("is_frontal").addEventListener("change", release);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeunload", (event) => {
  if (running || waiting.length) event.preventDefault();
});

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
  return found.filter((file) => !file.name.startsWith(".") && file.name.toUpperCase() !== "DICOMDIR");
}

function add(files) {
  for (const file of files) {
    const job = { file, line: newLine(file.name), details: new FormData(form) };
    if (file.size > Number(form.dataset.maxBytes)) {
      finish(job.line, { outcome: "refused", detail: "The file is larger than the limit." });
    } else if (isPicture(file) && !byId("is_frontal").checked) {
      show(job.line, "", "Waits for your confirmation");
      held.push(job);
    } else {
      waiting.push(job);
    }
  }
  byId("frontal-hint").hidden = held.length === 0;
  if (held.length) byId("is_frontal").focus();
  next();
}

function isPicture(file) {
  return /^image\/(png|jpeg)$/.test(file.type) || /\.(png|jpe?g)$/i.test(file.name);
}

function release() {
  if (!byId("is_frontal").checked) return;
  byId("frontal-hint").hidden = true;
  waiting.push(...held.splice(0).map((job) => ({ ...job, details: new FormData(form) })));
  next();
}

function next() {
  while (running < PARALLEL && waiting.length) send(waiting.shift());
}

// A file is sent with the details of the moment when it was confirmed, also if they change while it waits.
function send({ file, line, details: body }) {
  running += 1;
  body.delete("files");
  body.delete("complete");
  body.append("files", file, file.name);
  body.append("complete", "1");
  const request = new XMLHttpRequest();
  const progress = line.querySelector("progress");
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
  request.send(body);
}

function answer(line, request) {
  const body = request.response;
  if (request.status === 401) location.reload();
  if (request.status !== 200 || !Array.isArray(body)) {
    const detail = body?.detail ?? (request.status === 403
      ? "This page is out of date: reload it and send the file again."
      : "The server could not be reached: send the file again.");
    finish(line, { outcome: "refused", detail });
    return;
  }
  let at = line;
  body.forEach((outcome, index) => {
    if (index) {
      at.after(blank(outcome.name));
      at = at.nextElementSibling;
    }
    if (body.length > 1) at.querySelector(".name").textContent = outcome.name;
    finish(at, outcome);
  });
}

function newLine(name) {
  const line = blank(name);
  byId("queue").hidden = false;
  byId("queue").append(line);
  show(line, "queued", "Waiting");
  return line;
}

function blank(name) {
  const line = byId("queue-item").content.firstElementChild.cloneNode(true);
  line.querySelector(".name").textContent = name;
  return line;
}

function show(line, kind, text) {
  const chip = line.querySelector(".chip");
  chip.className = `chip ${kind}`;
  chip.textContent = text;
}

function finish(line, { outcome, detail, study_url: url }) {
  line.querySelector("progress")?.remove();
  line.dataset.outcome = outcome;
  show(line, outcome, { stored: "Stored", known: "Known already", refused: "Refused" }[outcome]);
  const place = line.querySelector(".detail");
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
  for (const id of ["patient_id", "patient_name", "study_date"]) byId(id).value = "";
  byId("is_frontal").checked = false;
}

function summary() {
  const count = (kind) => byId("queue").querySelectorAll(`[data-outcome="${kind}"]`).length;
  return `${count("stored")} stored, ${count("known")} known already, ${count("refused")} refused`;
}
