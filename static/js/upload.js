// The upload page: lists the files, sends them when the user asks for it, and goes on after whatever interrupts it.
import { listenForFiles } from "./drop_zone.js";
import { announce, byId, find } from "./page.js";
import { textOf } from "./page_texts.js";
import { PictureDetails } from "./picture_details.js";
import { RequestError } from "./requests.js";
import { FileError, sendFile } from "./resumable.js";
import { Link } from "./upload_link.js";
import { UploadList } from "./upload_list.js";
import { MOST_FILES, UploadQueue } from "./upload_queue.js";

/** @typedef {import("./upload_queue.js").Item} Item */

const form = byId("upload", HTMLFormElement);
const link = new Link({
  sessionUrl: form.dataset.sessionUrl ?? "",
  member: find(form, "[name=member]", HTMLInputElement).value,
  csrfToken: find(form, "[name=csrfmiddlewaretoken]", HTMLInputElement).value,
  onState: showConnection,
});
const queue = new UploadQueue({
  send,
  changed: (item) => list.refresh(item),
  finished,
  largest: Number(form.dataset.maxBytes),
  describe,
});
const list = new UploadList(byId("queue"), act, draw);
const details = new PictureDetails((items, values) => {
  for (const item of items) queue.describePicture(item, values);
});

listenForFiles(byId("drop"), byId("files", HTMLInputElement), add);
byId("retry-failed").addEventListener("click", () => queue.retryFailed());
byId("cancel-all").addEventListener("click", () => queue.cancelAll());
byId("clear").addEventListener("click", () => {
  for (const item of queue.clear()) list.remove(item);
  draw();
});
byId("show").addEventListener("change", () => {
  byId("queue").dataset.show = byId("show", HTMLSelectElement).value;
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
addEventListener("beforeunload", (event) => {
  if (queue.isActive) event.preventDefault();
});
addEventListener("offline", () => {
  if (queue.isActive) link.show("offline");
});

/** @param {File[]} files */
function add(files) {
  const { added, left } = queue.add(files);
  byId("uploads").hidden = false;
  byId("controls").hidden = false;
  list.add(added);
  refuse(left ? textOf("too-many", { most: MOST_FILES, count: left }) : "");
  draw();
}

function start() {
  const missing = queue.withoutDetails.filter(({ state }) => state === "listed");
  if (!queue.items.some(({ state }) => state === "listed")) return refuse(textOf("no-files"));
  if (missing.length) {
    refuse(textOf("pictures-without-data", { count: missing.length }));
    byId("target").focus();
    return;
  }
  refuse("");
  queue.start();
}

/** @param {Item} item */
async function send(item) {
  let url = "";
  try {
    return await sendFile(link, item.file, {
      partsUrl: form.dataset.partsUrl ?? "",
      details: item.details ?? new URLSearchParams(),
      signal: item.cancelling.signal,
      onStart: (started) => {
        url = started;
      },
      onProgress: (bytes) => {
        item.sent = bytes;
        list.refresh(item);
      },
      onChecking: () => {
        item.state = "checking";
        list.refresh(item);
      },
    });
  } catch (error) {
    if (item.cancelling.signal.aborted && url) discard(url);
    throw error;
  }
}

/** The server need not keep what the user cancelled; it expires anyway. @param {string} url */
function discard(url) {
  link.request(url, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0" }, attempts: 1 }).catch(() => {});
}

/**
 * @param {string} action
 * @param {Item} item
 */
function act(action, item) {
  if (action === "details") details.edit(item);
  if (action === "retry") queue.retry(item);
  if (action === "cancel") {
    queue.cancel(item);
    if (!queue.items.includes(item)) list.remove(item);
    draw();
  }
}

function draw() {
  const totals = queue.totals();
  const mb = (totals.bytes / 1e6).toFixed(1);
  byId("totals").textContent = textOf("totals", { ...totals, mb, sentMb: (totals.sent / 1e6).toFixed(1) });
  byId("progress", HTMLProgressElement).value = totals.bytes ? totals.sent / totals.bytes : 0;
  byId("retry-failed").hidden = !totals.failed;
  byId("cancel-all").hidden = !totals.active;
  byId("clear").hidden = !totals.done;
  details.offer(queue.pictures);
}

function finished() {
  announce(textOf("finished", queue.totals()));
  dispatchEvent(new Event("checxray:sent"));
}

/** @param {unknown} error */
function describe(error) {
  if (error instanceof FileError) return textOf(error.message);
  if (error instanceof RequestError) return error.code === "other-member" ? textOf("other-member") : error.message;
  reportError(error);
  return textOf("failed");
}

/** @param {string} text why nothing, or not all, is done; empty hides it */
function refuse(text) {
  const place = byId("refusal");
  place.hidden = !text;
  find(place, "span").textContent = text;
}

/** @param {import("./upload_link.js").LinkState} state */
function showConnection(state) {
  byId("connection").hidden = !state;
  byId("connection-text").textContent = state ? textOf(state) : "";
  byId("sign-in-again").hidden = state !== "signed-out";
}
