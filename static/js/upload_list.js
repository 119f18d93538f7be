// Draws the files of the upload page: one line each, a ZIP with one line for each of its files when it is opened.
import { copyOf, find } from "./page.js";
import { textOf } from "./page_texts.js";

/** @typedef {import("./upload_queue.js").Item} Item */
/** @typedef {import("./resumable.js").Outcome} Outcome */

const CLASSES = { listed: "", waiting: "queued", sending: "queued", checking: "running", cancelled: "" };
const GROUPS = { stored: "done", known: "done", refused: "attention", failed: "attention", cancelled: "open" };

export class UploadList {
  /** @type {Map<Item, HTMLElement>} */
  #lines = new Map();
  /** @type {Set<Item>} */
  #changed = new Set();

  /**
   * @param {HTMLElement} list
   * @param {(action: string, item: Item) => void} act when the user presses a button of a line
   * @param {() => void} drawn
   */
  constructor(list, act, drawn) {
    this.list = list;
    this.drawn = drawn;
    list.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("[data-action]") : null;
      const line = button?.closest("li");
      for (const [item, each] of this.#lines) {
        if (button instanceof HTMLElement && each === line) return act(button.dataset.action ?? "", item);
      }
    });
  }

  /** @param {Item[]} items */
  add(items) {
    const added = document.createDocumentFragment();
    for (const item of items) {
      const line = copyOf("queue-item");
      const name = item.file.webkitRelativePath || item.file.name;
      find(line, ".name").textContent = name;
      for (const each of line.querySelectorAll(".line-actions .spoken")) each.textContent = ` ${name}`;
      this.#lines.set(item, line);
      this.#draw(item);
      added.append(line);
    }
    this.list.append(added);
  }

  /** @param {Item} item */
  remove(item) {
    this.#lines.get(item)?.remove();
    this.#lines.delete(item);
  }

  /** Draw a file anew with the next frame; pieces of many files arrive within one. @param {Item} item */
  refresh(item) {
    if (!this.#changed.size) requestAnimationFrame(() => this.#drawChanged());
    this.#changed.add(item);
  }

  #drawChanged() {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const item of changed) this.#draw(item);
    this.drawn();
  }

  /** @param {Item} item */
  #draw(item) {
    const line = this.#lines.get(item);
    if (!line) return;
    const { state } = item;
    const isMissing = item.needsDetails && !item.details && (state === "listed" || state === "refused");
    const isOpen = state === "listed" || state === "waiting" || state === "sending" || state === "checking";
    line.dataset.state = state;
    line.dataset.group = isMissing ? "attention" : isOpen ? "open" : GROUPS[state];
    if (item.outcomes.length === 1) line.dataset.outcome = item.outcomes[0].outcome;
    else delete line.dataset.outcome;
    const isListedWithout = isMissing && state === "listed";
    drawChip(line, isListedWithout ? "details-missing" : state, isListedWithout ? "attention" : cssClassOf(state));
    const progress = find(line, "progress", HTMLProgressElement);
    progress.hidden = state !== "sending" && state !== "checking";
    progress.value = item.file.size ? item.sent / item.file.size : 1;
    drawDetail(line, item);
    drawMembers(line, item);
    button(line, "details").hidden = !(item.needsDetails && (state === "listed" || state === "refused"));
    button(line, "retry").hidden = state !== "failed" && state !== "cancelled";
    const cancel = button(line, "cancel");
    cancel.hidden = state === "checking" || state === "stored" || state === "known";
    find(cancel, ".cancel-text").textContent = textOf(state === "waiting" || state === "sending" ? "cancel" : "remove");
  }
}

/**
 * @param {HTMLElement} line
 * @param {string} action
 */
function button(line, action) {
  return find(line, `[data-action=${action}]`, HTMLButtonElement);
}

/** @param {Item["state"]} state */
function cssClassOf(state) {
  return /** @type {Record<string, string>} */ (CLASSES)[state] ?? state;
}

/**
 * @param {HTMLElement} line
 * @param {string} text
 * @param {string} cssClass
 */
function drawChip(line, text, cssClass) {
  const chip = find(line, ".chip");
  chip.className = `chip ${cssClass}`;
  chip.textContent = textOf(text);
}

/**
 * @param {HTMLElement} line
 * @param {Item} item
 */
function drawDetail(line, item) {
  const place = find(line, ".detail");
  place.textContent = item.detail ? `${textOf(item.detail) || item.detail} ` : patientOf(item);
  const [only] = item.outcomes;
  if (item.outcomes.length === 1 && only.study_url) place.append(studyLink(only));
}

/** @param {Item} item */
function patientOf({ details }) {
  if (!details) return "";
  if (details.has("patient_unknown")) return `${textOf("unknown-patient")} `;
  return `${details.get("patient_name")} · ${details.get("patient_id")} `;
}

/** @param {Outcome} outcome */
function studyLink({ study_url: url, name }) {
  const link = document.createElement("a");
  link.href = url;
  link.textContent = textOf("open-study");
  const spoken = document.createElement("span");
  spoken.className = "spoken";
  spoken.textContent = ` ${name}`;
  link.append(spoken);
  return link;
}

/**
 * The files of a ZIP: counted at once, listed when the user opens them.
 *
 * @param {HTMLElement} line
 * @param {Item} item
 */
function drawMembers(line, { outcomes }) {
  line.querySelector(".members")?.remove();
  if (outcomes.length < 2) return;
  const group = copyOf("queue-members");
  const counts = new Map();
  for (const { outcome } of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const summary = [...counts].map(([outcome, count]) => `${textOf(outcome)}: ${count}`).join(" · ");
  find(group, "summary").textContent = `${textOf("members", { count: outcomes.length })} · ${summary}`;
  group.addEventListener("toggle", () => find(group, "ul").append(...outcomes.map(memberLine)), { once: true });
  line.append(group);
}

/** @param {Outcome} outcome */
function memberLine(outcome) {
  const line = copyOf("queue-member");
  line.dataset.outcome = outcome.outcome;
  find(line, ".name").textContent = outcome.name;
  drawChip(line, outcome.outcome, outcome.outcome);
  const place = find(line, ".detail");
  place.textContent = outcome.detail ? `${outcome.detail} ` : "";
  if (outcome.study_url) place.append(studyLink(outcome));
  return line;
}
