// Requests to the server, and what the user reads where it refuses one.

import { fill, gettext } from "./texts.js";

/** @typedef {{ detail?: string, code?: string, [member: string]: any }} Problem a problem document (RFC 9457) */

/** A request that failed. Its message is for the user. */
export class RequestError extends Error {
  /**
   * @param {number} status of HTTP; 0 where no answer came
   * @param {Problem | null} [problem]
   * @param {number} [retryAfter] seconds; 0 where the server does not say
   */
  constructor(status, problem = null, retryAfter = 0) {
    super(refusal(status, problem));
    this.status = status;
    this.problem = problem;
    this.code = problem?.code ?? "";
    this.retryAfter = retryAfter;
  }
}

/**
 * What a refused request means, for the user. Where the session has ended, the page reloads, so that the user can sign in;
 * a page that holds unsaved text prevents that ("signed-out").
 *
 * @param {number} status of HTTP; 0 where no answer came
 * @param {Problem | null} [problem]
 */
export function refusal(status, problem = null) {
  if (status === 401 && document.dispatchEvent(new Event("signed-out", { cancelable: true }))) location.reload();
  if (problem?.detail) return problem.detail;
  if (status === 403) return gettext("This page is out of date: reload it and try again.");
  if (!status) return gettext("The server could not be reached: try again.");
  return fill(gettext("The server answered with %(status)s: try again."), { status });
}

/**
 * The JSON that the server answers with.
 *
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 * @throws {RequestError}
 */
export async function requestJson(url, options = {}) {
  const response = await request(url, { ...options, headers: { Accept: "application/json", ...options.headers } });
  return response.json();
}

/** JSON that is asked for again and again: where the server answers that nothing has changed, it is the former one. */
export class FollowedJson {
  /** @param {string} url */
  constructor(url) {
    this.url = url;
    this.tag = "";
    /** @type {any} */
    this.latest = null;
  }

  /** @throws {RequestError} */
  async load() {
    const headers = { Accept: "application/json", ...(this.tag ? { "If-None-Match": this.tag } : {}) };
    const response = await request(this.url, { headers });
    if (response.status !== 304) {
      this.latest = await response.json();
      this.tag = response.headers.get("ETag") ?? "";
    }
    return this.latest;
  }
}

/**
 * A part of this page, as the server renders it now.
 *
 * @param {string} url
 * @returns {Promise<string>}
 * @throws {RequestError}
 */
export async function requestHtml(url) {
  const response = await request(url, { headers: { "X-Fragment": "1" }, redirect: "manual" });
  return response.text();
}

/**
 * A part of this page, unless it is as the tag says: the server then answers without a body.
 *
 * @param {string} url
 * @param {string} tag the ETag of what the page has; empty at first
 * @returns {Promise<{ html: string | null, tag: string }>} null where nothing has changed
 * @throws {RequestError}
 */
export async function requestChangedHtml(url, tag) {
  const headers = { "X-Fragment": "1", ...(tag ? { "If-None-Match": tag } : {}) };
  const response = await request(url, { headers, redirect: "manual" });
  const isSame = response.status === 304;
  return { html: isSame ? null : await response.text(), tag: response.headers.get("ETag") ?? "" };
}

/**
 * @param {string} url
 * @param {RequestInit} options
 */
async function request(url, options) {
  const response = await fetch(url, options).catch(() => null);
  if (!response) throw new RequestError(0);
  // Pages redirect a user whose session has ended to the page where one signs in.
  if (response.type === "opaqueredirect") throw new RequestError(401);
  if (!response.ok && response.status !== 304) {
    const problem = await response.json().catch(() => null);
    throw new RequestError(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
  }
  return response;
}
