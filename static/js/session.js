// Requests that change something, also after the user has signed in again in another tab.
import { byId, find, findAll } from "./page.js";
import { RequestError, requestHtml, requestJson } from "./requests.js";
import { texts } from "./study_texts.js";

const TOKEN = "csrfmiddlewaretoken";
const FORBIDDEN = 403;

/**
 * Post fields, and answer what the server answers as JSON.
 *
 * @param {string} url
 * @param {FormData | Record<string, string>} fields
 * @param {boolean} [keepalive] whether the request goes on when the page is left
 * @returns {Promise<any>}
 * @throws {RequestError}
 */
export async function post(url, fields, keepalive = false) {
  try {
    return await requestJson(url, { method: "POST", body: bodyOf(fields), keepalive });
  } catch (error) {
    // Signing in changes the token; the refusal of an old one has no problem document.
    const isTokenOld = error instanceof RequestError && error.status === FORBIDDEN && error.problem === null;
    if (!isTokenOld) throw error;
    await renewToken();
    return requestJson(url, { method: "POST", body: bodyOf(fields), keepalive });
  }
}

/** @param {FormData | Record<string, string>} fields */
function bodyOf(fields) {
  const entries = fields instanceof FormData ? [...fields.entries()] : Object.entries(fields);
  const body = new FormData();
  for (const [name, value] of entries) if (name !== TOKEN) body.append(name, value);
  body.append(TOKEN, find(document, `[name=${TOKEN}]`, HTMLInputElement).value);
  return body;
}

/** Take the token of the session that is in force now, unless it is another person's. */
async function renewToken() {
  const page = new DOMParser().parseFromString(await requestHtml(location.href), "text/html");
  const fresh = page.querySelector(`[name=${TOKEN}]`);
  const user = page.getElementById("panels-content")?.dataset.user;
  if (!(fresh instanceof HTMLInputElement) || user !== byId("panels-content").dataset.user)
    throw new RequestError(FORBIDDEN, { detail: texts.otherUser });
  for (const each of findAll(document, `[name=${TOKEN}]`))
    if (each instanceof HTMLInputElement) each.value = fresh.value;
}
