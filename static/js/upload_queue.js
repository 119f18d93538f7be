// The files of the upload page and what becomes of each. It knows no page: `changed` is called with each file that changed.
import { RequestError } from "./requests.js";

/** @typedef {import("./resumable.js").Outcome} Outcome */
/** @typedef {"listed" | "waiting" | "sending" | "checking" | "stored" | "known" | "refused" | "failed" | "cancelled"} State */
/**
 * @typedef {object} Item one file
 * @property {File} file
 * @property {State} state
 * @property {number} sent bytes
 * @property {URLSearchParams | null} details of a picture; null where there are none yet
 * @property {boolean} needsDetails
 * @property {Outcome[]} outcomes
 * @property {string} detail why it was refused or failed
 * @property {AbortController} cancelling
 */
/**
 * @typedef {(item: Item) => Promise<Outcome[]>} Send
 */

export const MOST_FILES = 5000;
const PARALLEL = 3;
const WORST_FIRST = /** @type {const} */ (["failed", "refused", "stored", "known"]);
const NEEDS_DETAILS = new Set(["frontal-not-confirmed", "patient-missing"]);
const ACTIVE = new Set(["waiting", "sending", "checking"]);

export class UploadQueue {
  /** @type {Item[]} */
  items = [];
  #running = 0;

  /**
   * @param {object} options
   * @param {Send} options.send
   * @param {(item: Item) => void} options.changed
   * @param {() => void} options.finished nothing is sent any more
   * @param {number} options.largest bytes that a file may have
   * @param {(error: unknown) => string} options.describe what the user reads about an error
   */
  constructor({ send, changed, finished, largest, describe }) {
    this.send = send;
    this.changed = changed;
    this.finished = finished;
    this.largest = largest;
    this.describe = describe;
  }

  /**
   * @param {File[]} files
   * @returns {{ added: Item[], left: number }} `left` did not fit into the list
   */
  add(files) {
    // Two files with the same name and size may differ, so only the server says which are duplicates.
    const room = Math.max(0, MOST_FILES - this.items.length);
    const added = files.slice(0, room).map((file) => newItem(file, file.size > this.largest));
    this.items.push(...added);
    return { added, left: files.length - added.length };
  }

  /** The pictures that cannot be sent before their patient is named. */
  get withoutDetails() {
    return this.items.filter((item) => item.needsDetails && !item.details && canTakeDetails(item));
  }

  /** Send all that are listed. */
  start() {
    for (const item of this.items) if (item.state === "listed") this.#set(item, { state: "waiting" });
    this.#next();
  }

  /** @param {Item} item */
  retry(item) {
    this.#set(item, { state: "waiting", detail: "", outcomes: [], cancelling: new AbortController() });
    this.#next();
  }

  retryFailed() {
    for (const item of this.items) if (item.state === "failed") this.retry(item);
  }

  /**
   * Stop sending a file, or take it from the list where it is not being sent. What is being checked cannot be stopped.
   *
   * @param {Item} item
   */
  cancel(item) {
    if (item.state === "checking") return;
    item.cancelling.abort();
    if (ACTIVE.has(item.state)) this.#set(item, { state: "cancelled", sent: 0 });
    else this.items.splice(this.items.indexOf(item), 1);
  }

  cancelAll() {
    for (const item of [...this.items]) if (ACTIVE.has(item.state)) this.cancel(item);
  }

  /** Take the files that need nothing more from the list. */
  clear() {
    const removed = this.items.filter(({ state }) => ["stored", "known", "cancelled"].includes(state));
    this.items = this.items.filter((item) => !removed.includes(item));
    return removed;
  }

  /**
   * @param {Item} item
   * @param {URLSearchParams} details
   */
  describePicture(item, details) {
    this.#set(item, { details, state: "listed", detail: "", outcomes: [] });
  }

  /** The pictures whose patient can still be chosen. */
  get pictures() {
    return this.items.filter((item) => item.needsDetails && canTakeDetails(item));
  }

  get isActive() {
    return this.items.some(({ state }) => ACTIVE.has(state));
  }

  totals() {
    const totals = {
      files: this.items.length,
      bytes: 0,
      sent: 0,
      stored: 0,
      known: 0,
      refused: 0,
      failed: 0,
      active: 0,
      done: 0,
    };
    for (const { file, sent, state } of this.items) {
      totals.bytes += file.size;
      totals.sent += sent;
      if (state === "stored" || state === "known" || state === "refused" || state === "failed") totals[state] += 1;
      if (ACTIVE.has(state)) totals.active += 1;
      if (state === "stored" || state === "known" || state === "cancelled") totals.done += 1;
    }
    return totals;
  }

  #next() {
    while (this.#running < PARALLEL) {
      const item = this.items.find(({ state }) => state === "waiting");
      if (!item) return;
      this.#run(item);
    }
  }

  /** @param {Item} item */
  async #run(item) {
    this.#running += 1;
    const { signal } = item.cancelling;
    this.#set(item, { state: "sending", sent: 0 });
    try {
      const outcomes = await this.send(item);
      this.#set(item, { outcomes, sent: item.file.size, ...summaryOf(outcomes) });
    } catch (error) {
      const refused = error instanceof RequestError && [400, 413, 415].includes(error.status);
      if (!signal.aborted) this.#set(item, { state: refused ? "refused" : "failed", detail: this.describe(error) });
    } finally {
      this.#running -= 1;
      this.#next();
      if (!this.isActive) this.finished();
    }
  }

  /**
   * @param {Item} item
   * @param {Partial<Item>} values
   */
  #set(item, values) {
    Object.assign(item, values);
    this.changed(item);
  }
}

/** @param {Item} item */
function canTakeDetails({ state }) {
  return state === "listed" || state === "refused";
}

/**
 * @param {File} file
 * @param {boolean} isTooLarge
 * @returns {Item}
 */
function newItem(file, isTooLarge) {
  const isPicture = /^image\/(png|jpeg)$/.test(file.type) || /\.(png|jpe?g)$/i.test(file.name);
  return {
    file,
    state: isTooLarge ? "refused" : "listed",
    sent: 0,
    details: null,
    needsDetails: isPicture && !isTooLarge,
    outcomes: [],
    detail: isTooLarge ? "too-large" : "",
    cancelling: new AbortController(),
  };
}

/**
 * The state of a file by the outcomes of all files in it, and whether its pictures wait for their patient.
 *
 * @param {Outcome[]} outcomes
 */
function summaryOf(outcomes) {
  const state = WORST_FIRST.find((each) => outcomes.some(({ outcome }) => outcome === each)) ?? "failed";
  const missing = outcomes.some(({ code }) => NEEDS_DETAILS.has(code));
  const detail = outcomes.length === 1 ? outcomes[0].detail : "";
  return missing ? { state, detail, needsDetails: true, details: null } : { state, detail };
}
