import { announce, byId } from "./page.js";
import { greyOf, gzipped, isPlainPicture, isSupported, tensorOf } from "./preprocess.js";

const SLOW_SECONDS = 4;
const TRIES = 12;
const form = byId("quick-check");
const spaces = new Map();
let latest = 0;
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
  // A file that is dropped beside the drop zone must not replace the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (file) check(file);
  });
  byId("version").addEventListener("change", () => { if (shown) check(shown.file); });
  form.addEventListener("submit", (event) => event.preventDefault());
}

async function check(file) {
  const mine = latest += 1;
  const isLatest = () => mine === latest;
  clear();
  show("waiting", true);
  report("Preparing the film");
  const slow = setTimeout(() => { if (isLatest()) report("Still working: a large film takes some seconds"); }, 1000 * SLOW_SECONDS);
  try {
    if (file.size > Number(form.dataset.maxBytes)) throw new Error("The file is larger than the limit.");
    await preview(file);
    const message = await prepare(file);
    if (isLatest()) report("The model is reading the film");
    const [entry] = await send(message, isLatest);
    if (isLatest()) present(entry, file, message);
  } catch (error) {
    if (isLatest()) fail(error.message);
  } finally {
    clearTimeout(slow);
    if (isLatest()) show("waiting", false);
  }
}

/** The request's body: the input tensor where that is smaller than the file, or else the file. */
async function prepare(file) {
  const whole = { body: file, headers: { "Content-Type": "application/dicom" }, isSmall: false, fit: null };
  if (await isPicture(file)) whole.headers["Content-Type"] = file.type === "image/png" ? "image/png" : "image/jpeg";
  if (!(await isPlainPicture(file))) return whole;
  const space = await inputSpace();
  if (!isSupported(space)) return whole;
  let grey = null;
  try {
    grey = await greyOf(file);
  } catch {
    // The browser cannot decode it: the server's answer has the reason.
  }
  if (!grey) return whole;
  const tensor = tensorOf(grey, space);
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
    if (!answer.ok) throw new Error("This model version is no longer available: reload the page.");
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
    const content = await answer.json().catch(() => ({}));
    if (answer.ok) return content;
    const passes = answer.status === 429 || ["busy", "model-loading"].includes(content.code);
    if (!passes || tried === TRIES || !isLatest()) {
      const outdated = answer.status === 403 ? "This page is out of date: reload it and try again." : null;
      throw new Error(outdated ?? content.detail ?? `The server answered with ${answer.status}: try again.`);
    }
    report(content.code === "model-loading" ? "The model version is being loaded; this happens once" : "The service is busy; waiting");
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
    // A damaged file: the server's answer has the reason.
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
  if (flagged.length && !byId("picture").hidden) toggleHeatmap(flagged[0], message);
}

function verdict({ findings, model_version: version }, flagged) {
  const without = findings.filter((finding) => finding.threshold === null);
  if (without.length === findings.length) return `${version} has no operating points`;
  const reached = flagged
    ? `${flagged} of ${findings.length} findings reach their operating point`
    : "No finding reaches its operating point";
  const names = without.map((finding) => named(finding.label)).join(", ");
  return names ? `${reached}; no operating point: ${names}` : reached;
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
  pick.addEventListener("click", () => toggleHeatmap(finding, message));
  return line;
}

/** Show or hide a finding's heatmap over the film. */
function toggleHeatmap(finding, { isSmall, fit }) {
  const overlay = byId("overlay");
  const picks = [...byId("findings").querySelectorAll(".pick")];
  const pick = byId("findings").querySelector(`[data-label="${finding.label}"] .pick`);
  const isOn = pick.getAttribute("aria-pressed") !== "true" && Boolean(finding.heatmap);
  for (const each of picks) each.setAttribute("aria-pressed", String(each === pick && isOn));
  overlay.hidden = !isOn;
  byId("caption").textContent = isOn ? `AI overlay: ${named(finding.label)}. Where the model looked, not a lesion outline.` : "";
  if (!isOn) return;
  // An image that was preprocessed here has a map of the network's square input.
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

function report(text) {
  byId("progress").textContent = text;
  announce(text);
}

function show(id, isShown) {
  byId(id).hidden = !isShown;
}
