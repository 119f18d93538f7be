import { announce, byId } from "./page.js";
import { greyOf, gzipped, isFitHere, isPlainPicture, tensorOf } from "./preprocess.js";

const SLOW_SECONDS = 4;
const TRIES = 12;
const form = byId("quick-check");
const spaces = new Map();
let turn = 0;
let shown = null;

if (form) listen();

function listen() {
  const drop = byId("drop");
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) check(file);
  });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("is-over"));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("is-over"));
  // A film that misses the drop zone must not replace the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (file) check(file);
  });
  byId("version").addEventListener("change", () => { if (shown) check(shown.file); });
  form.addEventListener("submit", (event) => event.preventDefault());
}

async function check(file) {
  const mine = turn += 1;
  const isLatest = () => mine === turn;
  clear();
  show("waiting", true);
  say("Preparing the film");
  const slow = setTimeout(() => { if (isLatest()) say("Still working: a large film takes some seconds"); }, 1000 * SLOW_SECONDS);
  try {
    if (file.size > Number(form.dataset.maxBytes)) throw new Error("The file is larger than the limit.");
    await preview(file);
    const message = await prepare(file);
    if (isLatest()) say("The model is reading the film");
    const [entry] = await send(message, isLatest);
    if (isLatest()) present(entry, file, message);
  } catch (error) {
    if (isLatest()) fail(error.message);
  } finally {
    clearTimeout(slow);
    if (isLatest()) show("waiting", false);
  }
}

/** What is sent: the network's input where that is smaller than the picture, or else the file. */
async function prepare(file) {
  const whole = { body: file, headers: { "Content-Type": "application/dicom" }, isSmall: false, fit: null };
  if (await isPicture(file)) whole.headers["Content-Type"] = file.type === "image/png" ? "image/png" : "image/jpeg";
  if (!(await isPlainPicture(file))) return whole;
  const space = await inputSpace();
  if (!isFitHere(space)) return whole;
  let film = null;
  try {
    film = await greyOf(file);
  } catch {
    // The browser cannot read it: the server says what is wrong with it.
  }
  if (!film) return whole;
  const tensor = tensorOf(film, space);
  const small = await gzipped(tensor);
  const body = small ?? tensor;
  if (body.size >= file.size) return whole;
  const headers = { "Content-Type": "application/x-npy", ...(small ? { "Content-Encoding": "gzip" } : {}) };
  return { body, headers, isSmall: true, fit: space.fit };
}

async function isPicture(file) {
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return (head[0] === 0xff && head[1] === 0xd8) || (head[0] === 0x89 && head[1] === 0x50);
}

async function inputSpace() {
  const { value, dataset } = byId("version").selectedOptions[0];
  if (!spaces.has(value)) {
    const answer = await fetch(dataset.model, { headers: { Accept: "application/json" } });
    if (answer.status === 401) location.reload();
    if (!answer.ok) throw new Error("This model version is no longer there: reload the page.");
    spaces.set(value, (await answer.json()).input_space);
  }
  return spaces.get(value);
}

async function send({ body, headers }, isLatest) {
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const address = `${form.dataset.url}?heatmaps=true&model_version=${encodeURIComponent(byId("version").value)}`;
  for (let tried = 1; ; tried += 1) {
    let answer;
    try {
      answer = await fetch(address, { method: "POST", body, headers: { ...headers, "X-CSRFToken": token } });
    } catch {
      throw new Error("The server could not be reached: try again.");
    }
    if (answer.status === 401) location.reload();
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) return said;
    const passes = answer.status === 429 || ["busy", "model-loading"].includes(said.code);
    if (!passes || tried === TRIES || !isLatest()) {
      const outdated = answer.status === 403 ? "This page is out of date: reload it and try again." : null;
      throw new Error(outdated ?? said.detail ?? `The server answered with ${answer.status}: try again.`);
    }
    say(said.code === "model-loading" ? "The model version is being loaded; this happens once" : "The service is busy; waiting for a turn");
    await new Promise((resolve) => { setTimeout(resolve, 1000 * Math.min(Number(answer.headers.get("Retry-After")) || 2, 5)); });
  }
}

async function preview(file) {
  if (!(await isPicture(file))) return;
  const film = byId("film");
  film.src = URL.createObjectURL(file);
  try {
    await film.decode();
    show("picture", true);
  } catch {
    // A damaged picture: the server says so.
  }
}

function present(entry, file, message) {
  shown = { file, entry };
  byId("sent").textContent = `${entry.model_version}. ${sizes(file.size, message)} Nothing was stored.`;
  if (!entry.gate.accepted) {
    byId("refused-text").textContent = entry.gate.detail;
    show("refused", true);
    announce(`Not read. ${entry.gate.detail}`);
    return;
  }
  const flagged = entry.findings.filter((finding) => finding.positive);
  byId("verdict").textContent = verdict(entry, flagged.length);
  byId("findings").replaceChildren(...entry.findings.map((finding) => row(finding, message)));
  show("answer", true);
  announce(byId("verdict").textContent);
  if (flagged.length && !byId("picture").hidden) lay(flagged[0], message);
}

function verdict({ findings, model_version: version }, flagged) {
  const unjudged = findings.filter((finding) => finding.threshold === null);
  if (unjudged.length === findings.length) return `Not judged: ${version} has no operating points`;
  const reached = flagged
    ? `${flagged} of ${findings.length} findings reach their operating point`
    : "No finding reaches its operating point";
  const names = unjudged.map((finding) => named(finding.label)).join(", ");
  return names ? `${reached}; not judged: ${names}` : reached;
}

function sizes(original, { body, isSmall }) {
  if (!isSmall) return `The file itself was sent, ${kilobytes(original)}.`;
  const saved = Math.round(100 * (1 - body.size / original));
  return `Sent ${kilobytes(body.size)} instead of ${kilobytes(original)}: ${saved} % saved.`;
}

function kilobytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function row(finding, message) {
  const line = byId("finding").content.firstElementChild.cloneNode(true);
  line.dataset.label = finding.label;
  line.classList.toggle("is-flagged", finding.positive);
  line.querySelector(".name").textContent = named(finding.label);
  line.querySelector(".probability").textContent = percent(finding.probability);
  line.querySelector(".threshold").textContent = finding.threshold === null ? "none" : percent(finding.threshold);
  const pick = line.querySelector(".pick");
  pick.disabled = byId("picture").hidden || !finding.heatmap;
  pick.addEventListener("click", () => lay(finding, message));
  return line;
}

/** Lay a finding's map over the film; pressed again, take it away. */
function lay(finding, { isSmall, fit }) {
  const overlay = byId("overlay");
  const picks = [...byId("findings").querySelectorAll(".pick")];
  const pick = byId("findings").querySelector(`[data-label="${finding.label}"] .pick`);
  const isOn = pick.getAttribute("aria-pressed") !== "true" && Boolean(finding.heatmap);
  for (const each of picks) each.setAttribute("aria-pressed", String(each === pick && isOn));
  overlay.hidden = !isOn;
  byId("caption").textContent = isOn ? `AI overlay: ${named(finding.label)}. Where the model looked, not a lesion outline.` : "";
  if (!isOn) return;
  // What was preprocessed here has a map of the square that the network saw.
  overlay.classList.toggle("of-middle", isSmall && fit === "crop");
  overlay.src = finding.heatmap;
}

function named(label) {
  const text = label.replaceAll("_", " ").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

function percent(value) {
  return `${Math.min(Math.max(100 * value, 0.1), 99.9).toFixed(1)} %`;
}

function clear() {
  const film = byId("film");
  if (film.src) URL.revokeObjectURL(film.src);
  film.removeAttribute("src");
  byId("overlay").hidden = true;
  byId("caption").textContent = byId("sent").textContent = "";
  for (const id of ["picture", "answer", "refused", "problem", "empty"]) show(id, false);
}

function fail(text) {
  byId("problem-text").textContent = text;
  show("problem", true);
}

function say(text) {
  byId("progress").textContent = text;
  announce(text);
}

function show(id, isShown) {
  byId(id).hidden = !isShown;
}
