import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { problemOf } from "../../static/js/picture_details.js";
import { RequestError } from "../../static/js/requests.js";
import { MOST_FILES, UploadQueue } from "../../static/js/upload_queue.js";

let queue;
let sending;
let ended;

beforeEach(() => {
  sending = [];
  ended = 0;
  queue = new UploadQueue({
    send: (item) => new Promise((resolve, reject) => sending.push({ item, resolve, reject })),
    changed: () => {},
    finished: () => {
      ended += 1;
    },
    largest: 10,
    describe: (error) => error.message,
  });
});

const file = (name, content = "x") => new File([content], name);
const outcome = (value, code = "") => ({ name: "a", outcome: value, code, detail: "Because.", study_url: "" });
const settled = () => new Promise(setImmediate);
const states = () => queue.items.map(({ state }) => state);

async function finish(index, outcomes) {
  sending[index].resolve(outcomes);
  await settled();
}

test("nothing is sent before the user says so, then three at a time", async () => {
  queue.add([1, 2, 3, 4].map((number) => file(`${number}.dcm`)));
  assert.equal(sending.length, 0);
  queue.start();
  assert.deepEqual(states(), ["sending", "sending", "sending", "waiting"]);
  await finish(1, [outcome("known")]);
  assert.deepEqual(states(), ["sending", "known", "sending", "sending"]);
  for (const index of [0, 2]) await finish(index, [outcome("stored")]);
  assert.equal(ended, 0);
  await finish(3, [outcome("stored"), outcome("refused"), outcome("known")]);
  assert.deepEqual(states(), ["stored", "known", "stored", "refused"]);
  assert.equal(ended, 1);
  const { stored, known, refused, failed, sent, bytes } = queue.totals();
  assert.deepEqual([stored, known, refused, failed, sent, bytes], [2, 1, 1, 0, 4, 4]);
});

test("what failed is sent again, alone or with all others; what was refused is not", async () => {
  queue.add(["a", "b", "c", "d"].map((name) => file(name)));
  queue.start();
  sending[0].reject(new RequestError(507, { detail: "No space." }));
  sending[1].reject(new RequestError(413, { detail: "Too many." }));
  await finish(2, [outcome("failed")]);
  await finish(3, [outcome("stored"), outcome("failed")]);
  assert.deepEqual(states(), ["failed", "refused", "failed", "failed"]);
  assert.equal(queue.items[0].detail, "No space.");
  queue.retry(queue.items[2]);
  queue.retryFailed();
  await settled();
  assert.deepEqual(states(), ["sending", "refused", "sending", "sending"]);
});

test("one or all are cancelled, but not what is being checked", async () => {
  queue.add(["a", "b", "c", "d", "e"].map((name) => file(name)));
  queue.start();
  sending[2].item.state = "checking";
  queue.cancel(queue.items[0]);
  assert.ok(queue.items[0].cancelling.signal.aborted);
  queue.cancelAll();
  assert.deepEqual(states(), ["cancelled", "cancelled", "checking", "cancelled", "cancelled"]);
  sending[0].reject(new DOMException("", "AbortError"));
  await finish(2, [outcome("stored")]);
  assert.deepEqual(states(), ["cancelled", "cancelled", "stored", "cancelled", "cancelled"]);
  queue.cancel(queue.items[0]);
  assert.equal(queue.items.length, 4);
  queue.retry(queue.items[0]);
  assert.equal(queue.items[0].cancelling.signal.aborted, false);
  assert.equal(queue.clear().length, 3);
});

test("pictures need their patient; a ZIP says so only when the server has looked", async () => {
  queue.add([file("a.dcm"), file("b.PNG"), new File(["x"], "c", { type: "image/jpeg" }), file("d.zip")]);
  assert.deepEqual(queue.withoutDetails, queue.items.slice(1, 3));
  const details = new URLSearchParams({ patient_id: "A" });
  queue.describePicture(queue.items[1], details);
  assert.deepEqual(queue.withoutDetails, [queue.items[2]]);
  queue.describePicture(queue.items[2], details);
  queue.start();
  await finish(0, [outcome("stored")]);
  await finish(3, [outcome("stored"), outcome("refused", "patient-missing")]);
  assert.deepEqual(queue.withoutDetails, [queue.items[3]]);
  queue.describePicture(queue.items[3], details);
  assert.equal(queue.items[3].state, "listed");
});

test("files that are too large or too many are not sent", () => {
  const { added } = queue.add([file("a", "x".repeat(11))]);
  assert.deepEqual([added[0].state, added[0].detail], ["refused", "too-large"]);
  const { left } = queue.add(Array.from({ length: MOST_FILES }, () => file("b")));
  assert.equal(left, 1);
});

test("details are complete, or say what is missing", () => {
  const complete = { patient_id: "A", patient_name: "DOE", is_frontal: "on", study_date: "2024-03-01" };
  const problem = (values) => problemOf(new URLSearchParams(values))?.text;
  assert.equal(problem(complete), undefined);
  assert.equal(problem({ patient_unknown: "on", is_frontal: "on" }), undefined);
  assert.equal(problem({ ...complete, patient_name: "" }), "patient-missing");
  assert.equal(problem({ ...complete, patient_unknown: "on" }), "patient-both");
  assert.equal(problem({ ...complete, patient_id: "A\\B" }), "text-invalid");
  assert.equal(problem({ ...complete, study_date: "2190-01-01" }), "date-future");
  assert.equal(problem({ patient_id: "A", patient_name: "DOE" }), "frontal-missing");
});
