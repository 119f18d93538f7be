// The quick check: sends one film to the API, which stores nothing, and shows the findings.
import { listenForFiles } from "./drop_zone.js";
import { announce, byId, copyOf, find, findAll } from "./page.js";
import { greyOf, gzipped, isPlainPicture, isSupported, tensorOf } from "./preprocess.js";
import { RequestError, requestJson } from "./requests.js";
import { fileSize, fill, findingName, gettext, percent, verdict } from "./texts.js";

/** @typedef {import("./preprocess.js").InputSpace} InputSpace */
/** @typedef {import("./texts.js").Finding} Finding */
/** @typedef {{ model_version: string, gate: { accepted: boolean, detail: string }, findings: Finding[] }} Prediction */
/**
 * @typedef {{ body: Blob, headers: Record<string, string>, fit: string | null }} Message
 *   what is sent: the input tensor with the way in which the film was fitted, or the file itself
 */

const SLOW_SECONDS = 4;
const TRIES = 12;
/** @type {Map<string, InputSpace>} */
const spaces = new Map();
let latest = 0;
/** @type {File | null} */
let shown = null;

if (document.getElementById("quick-check")) {
  listenForFiles(byId("drop"), byId("file", HTMLInputElement), ([file]) => {
    if (file) check(file);
  });
  version().addEventListener("change", () => {
    if (shown) check(shown);
  });
  form().addEventListener("submit", (event) => event.preventDefault());
}

function form() {
  return byId("quick-check", HTMLFormElement);
}

function version() {
  return byId("version", HTMLSelectElement);
}

/** @param {File} file */
async function check(file) {
  latest += 1;
  const mine = latest;
  const isLatest = () => mine === latest;
  clear();
  show("waiting", true);
  report(gettext("Preparing the film"));
  const slow = setTimeout(() => {
    if (isLatest()) report(gettext("Still working: a large film takes some seconds"));
  }, 1000 * SLOW_SECONDS);
  try {
    if (file.size > Number(form().dataset.maxBytes)) throw new Error(gettext("The file is larger than the limit."));
    await preview(file);
    const message = await prepare(file);
    if (isLatest()) report(gettext("The model is reading the film"));
    const prediction = await send(message, isLatest);
    if (isLatest()) present(prediction, file, message);
  } catch (error) {
    if (isLatest()) fail(error instanceof Error ? error.message : String(error));
  } finally {
    clearTimeout(slow);
    if (isLatest()) show("waiting", false);
  }
}

/**
 * The input tensor where that is smaller than the file, or else the file.
 *
 * @param {File} file
 * @returns {Promise<Message>}
 */
async function prepare(file) {
  const picture = file.type === "image/png" ? "image/png" : "image/jpeg";
  const type = (await isPicture(file)) ? picture : "application/dicom";
  const whole = { body: file, headers: { "Content-Type": type }, fit: null };
  if (!(await isPlainPicture(file))) return whole;
  const space = await inputSpace();
  if (!isSupported(space)) return whole;
  // Where the browser cannot decode it, the server's answer has the reason.
  const grey = await greyOf(file).catch(() => null);
  if (!grey) return whole;
  const tensor = tensorOf(grey, space);
  const small = await gzipped(tensor);
  const body = small ?? tensor;
  if (body.size >= file.size) return whole;
  const headers = { "Content-Type": "application/x-npy", ...(small ? { "Content-Encoding": "gzip" } : {}) };
  return { body, headers, fit: space.fit };
}

/** @param {File} file */
async function isPicture(file) {
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return (head[0] === 0xff && head[1] === 0xd8) || (head[0] === 0x89 && head[1] === 0x50);
}

async function inputSpace() {
  const { value, dataset } = version().selectedOptions[0];
  const known = spaces.get(value);
  if (known) return known;
  const model = await requestJson(dataset.model ?? "").catch((error) => {
    if (error.status === 404) throw new Error(gettext("This model version is no longer available: reload the page."));
    throw error;
  });
  spaces.set(value, model.input_space);
  return /** @type {InputSpace} */ (model.input_space);
}

/**
 * @param {Message} message
 * @param {() => boolean} isLatest
 * @returns {Promise<Prediction>}
 */
async function send({ body, headers }, isLatest) {
  const token = find(form(), "[name=csrfmiddlewaretoken]", HTMLInputElement).value;
  const address = `${form().dataset.url}?heatmaps=true&model_version=${encodeURIComponent(version().value)}`;
  for (let tried = 1; ; tried += 1) {
    try {
      const [prediction] = await requestJson(address, {
        method: "POST",
        body,
        headers: { ...headers, "X-CSRFToken": token },
      });
      return prediction;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const passes = error.status === 429 || ["busy", "model-loading"].includes(error.code);
      if (!passes || tried === TRIES || !isLatest()) throw error;
      if (error.code === "model-loading") report(gettext("The model version is being loaded; this happens once"));
      else report(gettext("The service is busy; waiting"));
      const seconds = Math.min(error.retryAfter || 2, 5);
      await new Promise((resolve) => {
        setTimeout(resolve, 1000 * seconds);
      });
    }
  }
}

/** @param {File} file */
async function preview(file) {
  if (!(await isPicture(file))) return;
  const film = byId("film", HTMLImageElement);
  film.src = URL.createObjectURL(file);
  try {
    await film.decode();
    show("picture", true);
  } catch {
    // A damaged file: the server's answer has the reason.
  }
}

/**
 * @param {Prediction} prediction
 * @param {File} file
 * @param {Message} message
 */
function present({ model_version: name, gate, findings }, file, message) {
  shown = file;
  byId("sent").textContent = `${name}. ${sizes(file.size, message)} ${gettext("Nothing was stored.")}`;
  if (!gate.accepted) {
    byId("refused-text").textContent = gate.detail;
    show("refused", true);
    announce(`${gettext("Not read.")} ${gate.detail}`);
    return;
  }
  const text = verdict(findings, name);
  byId("verdict").textContent = text;
  byId("findings").replaceChildren(...findings.map((finding) => row(finding, message)));
  show("answer", true);
  announce(text);
  const flagged = findings.find((finding) => finding.positive);
  if (flagged && !byId("picture").hidden) toggleHeatmap(flagged, message);
}

/**
 * @param {number} original
 * @param {Message} message
 */
function sizes(original, { body, fit }) {
  if (fit === null) return fill(gettext("The file itself was sent, %(size)s."), { size: fileSize(original) });
  const share = Math.round(100 * (1 - body.size / original));
  const values = { sent: fileSize(body.size), original: fileSize(original), share };
  return fill(gettext("Sent %(sent)s instead of %(original)s: %(share)s %% saved."), values);
}

/**
 * @param {Finding} finding
 * @param {Message} message
 */
function row(finding, message) {
  const line = copyOf("finding");
  line.dataset.label = finding.label;
  line.classList.toggle("is-flagged", finding.positive);
  find(line, ".name").textContent = findingName(finding.label);
  find(line, ".probability").textContent = percent(finding.probability);
  const threshold = finding.threshold === null ? gettext("none") : percent(finding.threshold);
  find(line, ".threshold").textContent = threshold;
  const pick = find(line, ".pick", HTMLButtonElement);
  pick.disabled = Boolean(byId("picture").hidden) || !finding.heatmap;
  pick.addEventListener("click", () => toggleHeatmap(finding, message));
  return line;
}

/**
 * Show or hide a finding's heatmap over the film.
 *
 * @param {Finding} finding
 * @param {Message} message
 */
function toggleHeatmap({ label, heatmap }, { fit }) {
  const overlay = byId("overlay", HTMLImageElement);
  const findings = byId("findings");
  const pick = find(findings, `[data-label="${label}"] .pick`, HTMLButtonElement);
  const isOn = pick.getAttribute("aria-pressed") !== "true" && Boolean(heatmap);
  for (const each of findAll(findings, ".pick")) each.setAttribute("aria-pressed", String(each === pick && isOn));
  overlay.hidden = !isOn;
  const text = gettext("AI overlay: %(name)s. Where the model looked, not a lesion outline.");
  const caption = fill(text, { name: findingName(label) });
  byId("caption").textContent = isOn ? caption : "";
  if (!isOn || !heatmap) return;
  // An image that was preprocessed here has a map of the network's square input.
  overlay.classList.toggle("of-middle", fit === "crop");
  overlay.src = heatmap;
}

function clear() {
  const film = byId("film", HTMLImageElement);
  if (film.src) URL.revokeObjectURL(film.src);
  film.removeAttribute("src");
  byId("overlay").hidden = true;
  for (const id of ["caption", "sent"]) byId(id).textContent = "";
  for (const id of ["picture", "answer", "refused", "problem", "empty"]) show(id, false);
}

/** @param {string} text */
function fail(text) {
  byId("problem-text").textContent = text;
  show("problem", true);
}

/** @param {string} text */
function report(text) {
  byId("progress").textContent = text;
  announce(text);
}

/**
 * @param {string} id
 * @param {boolean} isShown
 */
function show(id, isShown) {
  byId(id).hidden = !isShown;
}
