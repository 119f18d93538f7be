// Requests to the server, and what the user reads where it refuses one.

/** @typedef {{ detail?: string, code?: string }} Problem a problem document (RFC 9457), as far as pages use it */

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
    this.code = problem?.code ?? "";
    this.retryAfter = retryAfter;
  }
}

/**
 * What a refused request means, for the user. Where the session has ended, the page reloads, so that the user can sign in.
 *
 * @param {number} status of HTTP; 0 where no answer came
 * @param {Problem | null} [problem]
 */
export function refusal(status, problem = null) {
  if (status === 401) location.reload();
  if (problem?.detail) return problem.detail;
  if (status === 403) return "This page is out of date: reload it and try again.";
  return status ? `The server answered with ${status}: try again.` : "The server could not be reached: try again.";
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
 * @param {string} url
 * @param {RequestInit} options
 */
async function request(url, options) {
  const response = await fetch(url, options).catch(() => null);
  if (!response) throw new RequestError(0);
  // Pages redirect a user whose session has ended to the page where one signs in.
  if (response.type === "opaqueredirect") throw new RequestError(401);
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    throw new RequestError(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
  }
  return response;
}
