// What the reader types is stored on the server soon after, and kept in this tab until the server has it.
//
// The copy in this tab lives in sessionStorage: it survives a reload, an ended session and a crash of the browser, and
// no other tab and no later user of a shared workstation reads it. It names its user, and is removed as soon as the
// server has the text, and at the sign-out.
import { RequestError } from "./requests.js";

/**
 * @typedef {Record<string, string>} Texts the fields' texts by name
 * @typedef {{ revision: number, impression: string, reason?: string, saved_by: string | null, saved_at: string | null }} Stored
 *   what the server has
 * @typedef {"typing" | "unchanged" | "saving" | "saved" | "offline" | "signed-out" | "conflict" | "refused" | "restored"} State
 * @typedef {{ user: string, study: string, kind?: string, revision: number }} Place whose text it is, of what kind, and what the page
 *   started from
 */

const PREFIX = "checxray.draft.";
const QUIET_MS = 2000;
const RETRY_MS = 5000;
const LONGEST_RETRY_MS = 30_000;
const HTTP = { none: 0, unauthorized: 401, conflict: 409, tooMany: 429, serverError: 500 };

export class Draft {
  /**
   * @param {HTMLFormElement} form its fields with `data-draft` are kept
   * @param {Place} place
   * @param {(fields: Texts) => Promise<Stored>} send goes on when the page is left
   * @param {(state: State, detail: { at?: string, message?: string, stored?: Stored }) => void} show
   */
  constructor(form, place, send, show) {
    this.form = form;
    this.place = place;
    this.send = send;
    this.show = show;
    this.revision = place.revision;
    this.saved = JSON.stringify(this.texts);
    this.savedAt = form.dataset.storedAt ?? "";
    /** @type {Stored | null} */
    this.conflict = null;
    /** @type {Promise<boolean> | null} */
    this.sending = null;
    this.isOver = false;
    this.failures = 0;
    this.timer = 0;
    form.addEventListener(
      "input",
      ({ target }) => target instanceof HTMLElement && "draft" in target.dataset && this.typed(),
    );
    form.addEventListener("focusout", () => this.save());
    forgetOthers(place.user);
    this.restore();
  }

  get fields() {
    /** @type {(HTMLInputElement | HTMLTextAreaElement)[]} */
    const found = [];
    for (const each of this.form.elements) {
      const isField = each instanceof HTMLTextAreaElement || each instanceof HTMLInputElement;
      if (isField && "draft" in each.dataset) found.push(each);
    }
    return found;
  }

  /** @returns {Texts} */
  get texts() {
    return Object.fromEntries(this.fields.map(({ name, value }) => [name, value]));
  }

  get isChanged() {
    return !this.isOver && JSON.stringify(this.texts) !== this.saved;
  }

  /** Whether the server lacks something that the reader typed. */
  get isUnsaved() {
    return this.isChanged || (this.sending !== null && !this.isOver);
  }

  typed() {
    this.keep();
    if (this.conflict) return;
    if (!this.isUnsaved) return this.sameAgain();
    this.show("typing", {});
    this.wait(QUIET_MS);
  }

  /** What was typed was taken back: the server has this text, and nothing waits to be saved. */
  sameAgain() {
    clearTimeout(this.timer);
    this.forget();
    if (this.savedAt) this.show("saved", { at: this.savedAt });
    else this.show("unchanged", {});
  }

  /** @param {number} milliseconds until the text is sent */
  wait(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), milliseconds);
  }

  /**
   * Send what changed. Whether the server has everything now.
   *
   * @param {{ force?: boolean, evenUnchanged?: boolean }} [how]
   *   force: send although the texts contradict each other, under the revision of the server's one; evenUnchanged: find
   *   out whether another text was stored meanwhile
   * @returns {Promise<boolean>}
   */
  async save({ force = false, evenUnchanged = false } = {}) {
    clearTimeout(this.timer);
    while (this.sending) await this.sending;
    if (this.conflict && !force) return false;
    if (!this.isChanged && !force && !evenUnchanged) return true;
    this.sending = this.attempt();
    const isSaved = await this.sending;
    this.sending = null;
    if (isSaved && this.isChanged) this.wait(QUIET_MS);
    return isSaved && !this.isChanged;
  }

  async attempt() {
    const { texts } = this;
    this.show("saving", {});
    try {
      const stored = await this.send({ ...texts, revision: String(this.revision) });
      this.accept(stored.revision, texts);
      this.savedAt = stored.saved_at ?? "";
      this.show("saved", { at: this.savedAt });
      return true;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.refuse(error);
      return false;
    }
  }

  /**
   * @param {number} revision
   * @param {Texts} texts
   */
  accept(revision, texts) {
    this.revision = revision;
    this.saved = JSON.stringify(texts);
    this.failures = 0;
    this.conflict = null;
    if (this.isChanged) this.keep();
    else this.forget();
  }

  /** @param {RequestError} error */
  refuse(error) {
    const { status, problem } = error;
    const isPassing = status === HTTP.none || status === HTTP.tooMany || status >= HTTP.serverError;
    if (status === HTTP.conflict && problem && "revision" in problem) {
      this.conflict = /** @type {Stored} */ (problem);
      this.show("conflict", { stored: this.conflict });
    } else if (isPassing || status === HTTP.unauthorized) {
      this.show(status === HTTP.unauthorized ? "signed-out" : "offline", {});
      this.wait(Math.min(RETRY_MS * 2 ** this.failures, LONGEST_RETRY_MS));
      this.failures += 1;
    } else {
      this.show("refused", { message: error.message });
    }
  }

  /** The reader has seen both texts, and keeps the own one. */
  keepMine() {
    this.revision = this.conflict?.revision ?? this.revision;
    return this.save({ force: true });
  }

  /** The reader has seen both texts, and takes the stored one. */
  takeStored() {
    const stored = this.conflict;
    if (!stored) return;
    for (const field of this.fields) field.value = (field.name === "reason" ? stored.reason : stored.impression) ?? "";
    this.accept(stored.revision, this.texts);
    this.savedAt = stored.saved_at ?? "";
    this.show("saved", { at: this.savedAt });
  }

  /** Wait until nothing is being sent, and send nothing before the reader types again. */
  async pause() {
    clearTimeout(this.timer);
    while (this.sending) await this.sending;
  }

  /** The text has become a report, or is not wanted: nothing is sent or kept any more. */
  end() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.forget();
  }

  // The copy in this tab

  get key() {
    const { study, kind } = this.place;
    return PREFIX + study + (kind ? `.${kind}` : "");
  }

  keep() {
    const { user } = this.place;
    write(this.key, JSON.stringify({ user, revision: this.revision, texts: this.texts }));
  }

  forget() {
    write(this.key, null);
  }

  restore() {
    const copy = read(this.key);
    if (!copy) return;
    const stored = this.texts;
    for (const field of this.fields) field.value = copy.texts[field.name] ?? field.value;
    if (!this.isChanged) {
      this.forget();
    } else if (copy.revision === this.revision || copy.texts.impression === stored.impression) {
      this.show("restored", {});
      this.wait(0);
    } else {
      // Another tab or person has stored a text since this one was typed.
      const { storedBy, storedAt } = this.form.dataset;
      this.conflict = {
        revision: this.revision,
        impression: stored.impression ?? "",
        reason: stored.reason ?? "",
        saved_by: storedBy ?? null,
        saved_at: storedAt ?? null,
      };
      this.show("conflict", { stored: this.conflict });
    }
  }
}

/**
 * Remove the copies of another user of this tab.
 *
 * @param {string} user
 */
function forgetOthers(user) {
  for (const key of keys()) if (read(key)?.user !== user) write(key, null);
}

/** Remove every copy: the user signs out. */
export function forgetDrafts() {
  for (const key of keys()) write(key, null);
}

// A browser may forbid storage; then the text lives on the page and on the server only.

function keys() {
  try {
    return Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));
  } catch {
    return [];
  }
}

/**
 * @param {string} key
 * @returns {{ user: string, revision: number, texts: Texts } | null}
 */
function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string | null} value null removes it
 */
function write(key, value) {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, value);
  } catch {
    // As above.
  }
}
