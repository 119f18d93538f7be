// Requests of the upload page. They wait while the connection, the session or the server is away, and then go on.
import { RequestError } from "./requests.js";

/** @typedef {"" | "offline" | "unreachable" | "busy" | "signed-out" | "other-member"} LinkState why requests wait */
/** @typedef {{ method?: string, headers?: Record<string, string>, body?: BodyInit, signal?: AbortSignal, attempts?: number }} LinkRequest */

const LONGEST_WAIT_SECONDS = 15;
const SESSION_SECONDS = 5;
const BUSY = new Set([429, 502, 503, 504, 507]);
/** A request that is refused as busy, or fails in the server, this often is given up. */
const MOST_TRIES = 8;

/** The connection of one page to the server, for the member who opened it. */
export class Link {
  /** @type {Promise<void> | null} */
  #signIn = null;

  /**
   * @param {object} page
   * @param {string} page.sessionUrl
   * @param {string} page.member
   * @param {string} page.csrfToken
   * @param {(state: LinkState) => void} page.onState
   * @param {(seconds: number, signal?: AbortSignal) => Promise<void>} [page.wait]
   */
  constructor({ sessionUrl, member, csrfToken, onState, wait = pause }) {
    this.sessionUrl = sessionUrl;
    this.member = member;
    this.csrfToken = csrfToken;
    this.onState = onState;
    this.wait = wait;
    /** @type {LinkState} */
    this.state = "";
  }

  /** @param {LinkState} state */
  show(state) {
    // What another person's session receives cannot be undone, so this state stays.
    if (state === this.state || this.state === "other-member") return;
    this.state = state;
    this.onState(state);
  }

  /**
   * The server's answer, as soon as there is one that is not only "later".
   *
   * @param {string} url
   * @param {LinkRequest} [options] `attempts` limits how often a request without any answer is repeated
   * @returns {Promise<Response>}
   * @throws {RequestError} the server refuses it, or there was no answer to the last attempt
   * @throws {DOMException} it was cancelled
   */
  async request(url, { attempts = Number.POSITIVE_INFINITY, ...options } = {}) {
    let tries = 0;
    let unanswered = 0;
    let isTokenFresh = false;
    for (;;) {
      const answered = await this.#fetch(url, options);
      options.signal?.throwIfAborted();
      if (!answered) {
        unanswered += 1;
        this.show(navigator.onLine === false ? "offline" : "unreachable");
        await this.wait(Math.min(2 ** unanswered / 4, LONGEST_WAIT_SECONDS), options.signal);
        if (unanswered >= attempts) throw new RequestError(0);
        continue;
      }
      const { response, problem } = answered;
      if (response.ok) {
        this.show("");
        return response;
      }
      if (response.status === 401) {
        await this.#signedIn(options.signal);
      } else if (response.status === 403 && !problem && !isTokenFresh) {
        // Signing in again, in this browser, made a new token.
        isTokenFresh = true;
        await this.#signedIn(options.signal);
      } else if (BUSY.has(response.status) && (tries < MOST_TRIES || problem?.code === "upload-busy")) {
        tries += 1;
        if (problem?.code !== "upload-busy") this.show("busy");
        await this.wait(
          Number(response.headers.get("Retry-After")) || Math.min(2 ** tries, LONGEST_WAIT_SECONDS),
          options.signal,
        );
      } else if (response.status === 500 && tries < 2) {
        tries += 1;
        await this.wait(2 ** tries, options.signal);
      } else {
        this.show(problem?.code === "other-member" ? "other-member" : "");
        throw new RequestError(response.status, problem);
      }
    }
  }

  /**
   * @param {string} url
   * @param {LinkRequest} options
   */
  async #fetch(url, { headers, ...options }) {
    const own = { Accept: "application/json", "X-CSRFToken": this.csrfToken, "X-Member": this.member };
    try {
      const response = await fetch(url, { ...options, headers: { ...own, ...headers } });
      // The body of a refusal may be lost on the way as well.
      const problem = response.ok ? null : parsed(await response.text());
      return { response, problem };
    } catch {
      return null;
    }
  }

  /** Wait until this browser is signed in. All requests wait for the same. @param {AbortSignal} [signal] */
  async #signedIn(signal) {
    this.#signIn ??= this.#askForSession().finally(() => {
      this.#signIn = null;
    });
    await this.#signIn;
    signal?.throwIfAborted();
  }

  async #askForSession() {
    for (;;) {
      const answered = await this.#fetch(this.sessionUrl, {});
      if (answered?.response.ok) {
        const session = parsed(await answered.response.text().catch(() => ""));
        if (session?.member && session.member !== this.member) {
          this.show("other-member");
          throw new RequestError(409, { code: "other-member" });
        }
        if (session?.csrf_token) {
          this.csrfToken = session.csrf_token;
          this.show("");
          return;
        }
      }
      if (answered?.response.status === 401) this.show("signed-out");
      await this.wait(SESSION_SECONDS);
    }
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Wait, but no longer than until the connection is back or the user returns to the page.
 *
 * @param {number} seconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      removeEventListener("focus", end);
      signal?.removeEventListener("abort", end);
      signal?.aborted ? reject(signal.reason) : resolve();
    };
    const timer = setTimeout(end, 1000 * seconds);
    addEventListener("online", end);
    addEventListener("focus", end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}
