// Sends the archive of an evaluation set with its progress, and shows what is wrong with it beside the form.
import { byId, find } from "./page.js";
import { refusal } from "./requests.js";

const form = find(document, "form[enctype]", HTMLFormElement);
const state = byId("upload-state");
const progress = byId("upload-progress", HTMLProgressElement);
const errors = byId("upload-errors");
const button = find(form, "input[type=submit]", HTMLInputElement);

/** @param {string[]} texts */
function showErrors(texts) {
  state.textContent = texts.length ? "Nothing was stored." : "";
  progress.hidden = texts.length > 0;
  errors.replaceChildren(
    ...texts.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }),
  );
  button.disabled = false;
}

/** @param {XMLHttpRequest} request */
function ended(request) {
  /** @type {{ url?: string, errors?: string[], detail?: string }} */
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // The server, or a proxy before it, answered with a page.
  }
  if (request.status === 200 && answer.url) location.assign(answer.url);
  else if (request.status === 200) showErrors(["Your session has ended: sign in again in another tab, then send it."]);
  else showErrors(answer.errors ?? [refusal(request.status, answer)]);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    progress.value = total ? loaded / total : 0;
    state.textContent =
      loaded < total
        ? `Uploaded: ${Math.round((100 * loaded) / total)} %`
        : "Uploaded. The server unpacks and checks it.";
  });
  request.addEventListener("load", () => ended(request));
  request.addEventListener("error", () => showErrors([refusal(0)]));
  byId("upload").hidden = false;
  showErrors([]);
  button.disabled = true;
  request.open("POST", location.pathname);
  request.setRequestHeader("Accept", "application/json");
  request.send(new FormData(form));
});
