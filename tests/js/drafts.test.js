import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Draft, forgetDrafts } from "../../static/js/drafts.js";
import { RequestError } from "../../static/js/requests.js";

const COPY = "checxray.draft.study";
let field;
let form;
let sent;
let shown;
let answer;

beforeEach(() => {
  document.body.innerHTML = `<form data-stored-by="Dr. Other">
    <textarea name="impression" data-draft>from the server</textarea><input name="password"></form>`;
  form = document.querySelector("form");
  field = form.querySelector("textarea");
  sent = [];
  shown = [];
  answer = ({ revision }) => ({ revision: Number(revision) + 1, saved_at: "2026-01-01T10:42:00Z" });
  sessionStorage.clear();
});

function draft({ user = "reader", revision = 3 } = {}) {
  const send = async (fields) => {
    sent.push(fields);
    return answer(fields);
  };
  return new Draft(form, { user, study: "study", revision }, send, (state, detail) => shown.push([state, detail]));
}

function type(text, target = field) {
  target.value = text;
  target.dispatchEvent(new Event("input", { bubbles: true }));
}

const refuse = (status, problem = null) => {
  answer = () => {
    throw new RequestError(status, problem);
  };
};

async function pass(t, milliseconds) {
  t.mock.timers.tick(milliseconds);
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

test("a text is sent once the reader pauses, and kept in the tab until the server has it", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const made = draft();
  type("secret", form.querySelector("[name=password]"));
  assert.equal(made.isUnsaved, false);
  type("one");
  await pass(t, 1500);
  type("one two");
  await pass(t, 1500);
  assert.deepEqual(sent, []);
  assert.ok(made.isUnsaved);
  assert.match(sessionStorage.getItem(COPY), /one two/);
  assert.doesNotMatch(sessionStorage.getItem(COPY), /secret/);
  await pass(t, 600);
  assert.deepEqual(sent, [{ impression: "one two", revision: "3" }]);
  assert.equal(made.isUnsaved, false);
  assert.equal(sessionStorage.getItem(COPY), null);
  assert.deepEqual(shown.at(-1), ["saved", { at: "2026-01-01T10:42:00Z" }]);
});

test("a text that is taken back needs no saving, and the page does not say that it is not saved", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const made = draft();
  type("from the server, and more");
  type("from the server");
  assert.equal(made.isUnsaved, false);
  assert.deepEqual(shown.at(-1), ["unchanged", {}]);
  assert.equal(sessionStorage.getItem(COPY), null);
  type("new");
  await pass(t, 2100);
  type("newer");
  type("new");
  await pass(t, 2100);
  assert.equal(sent.length, 1);
  assert.deepEqual(shown.at(-1), ["saved", { at: "2026-01-01T10:42:00Z" }]);
});

test("leaving the field sends at once, and what is typed meanwhile follows with the new revision", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const made = draft();
  type("one");
  const first = made.save();
  const second = made.save();
  type("one two");
  await Promise.all([first, second]);
  await pass(t, 2000);
  assert.deepEqual(
    sent.map(({ impression, revision }) => [impression, revision]),
    [
      ["one", "3"],
      ["one two", "4"],
    ],
  );
  assert.equal(made.isUnsaved, false);
});

test("without a server or a session the text waits in the tab, and is sent again", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(location, "reload", () => {});
  const made = draft();
  for (const [status, state] of [
    [0, "offline"],
    [503, "offline"],
    [401, "signed-out"],
  ]) {
    refuse(status);
    type(`typed at ${status}`);
    assert.equal(await made.save(), false);
    assert.equal(shown.at(-1)[0], state);
    assert.match(sessionStorage.getItem(COPY), new RegExp(`typed at ${status}`));
  }
  answer = ({ revision }) => ({ revision: Number(revision) + 1, saved_at: "" });
  await pass(t, 30_000);
  assert.equal(sent.at(-1).impression, "typed at 401");
  assert.equal(made.isUnsaved, false);
});

test("a text that the server cannot take is not sent over and over", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const made = draft();
  refuse(400, { detail: "The impression is too long." });
  type("long");
  await made.save();
  assert.deepEqual(shown.at(-1), ["refused", { message: "The impression is too long." }]);
  await pass(t, 60_000);
  assert.equal(sent.length, 1);
  assert.ok(made.isUnsaved);
});

test("of two texts the reader chooses one", async () => {
  const stored = { detail: "Changed.", revision: 9, impression: "theirs", saved_by: "Dr. Other", saved_at: "" };
  for (const isMine of [true, false]) {
    const made = draft();
    refuse(409, stored);
    type("mine");
    await made.save();
    assert.deepEqual(shown.at(-1), ["conflict", { stored }]);
    const count = sent.length;
    type("mine too");
    await made.save();
    assert.equal(sent.length, count, "nothing is sent before the reader has chosen");
    answer = ({ revision }) => ({ revision: Number(revision) + 1, saved_at: "" });
    if (isMine) await made.keepMine();
    else made.takeStored();
    assert.equal(made.isUnsaved, false);
    assert.equal(field.value, isMine ? "mine too" : "theirs");
    assert.equal(made.revision, isMine ? 10 : 9);
    assert.deepEqual(sent[count], isMine ? { impression: "mine too", revision: "9" } : undefined);
  }
});

test("a reload brings the unsaved text back, and shows both where another one was stored since", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const copy = (user) => JSON.stringify({ user, revision: 3, texts: { impression: "typed before" } });
  sessionStorage.setItem(COPY, copy("reader"));
  draft();
  assert.equal(field.value, "typed before");
  await pass(t, 10);
  assert.equal(sent.at(-1).impression, "typed before");
  assert.equal(sessionStorage.getItem(COPY), null);

  field.value = "newer on the server";
  sessionStorage.setItem(COPY, copy("reader"));
  draft({ revision: 4 });
  assert.equal(field.value, "typed before");
  const [state, { stored }] = shown.at(-1);
  assert.equal(state, "conflict");
  assert.deepEqual([stored.impression, stored.saved_by, stored.revision], ["newer on the server", "Dr. Other", 4]);
});

test("no other user of the tab gets the text, and signing out removes it", () => {
  const copy = JSON.stringify({ user: "reader", revision: 3, texts: { impression: "typed before" } });
  sessionStorage.setItem(COPY, copy);
  draft({ user: "another" });
  assert.equal(field.value, "from the server");
  assert.equal(sessionStorage.getItem(COPY), null);

  sessionStorage.setItem(COPY, copy);
  forgetDrafts();
  assert.equal(sessionStorage.getItem(COPY), null);
});

test("an addendum is kept beside an amendment, and a conflict takes its reason too", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  form.insertAdjacentHTML("beforeend", '<input name="reason" data-draft>');
  const reason = form.querySelector("[name=reason]");
  const place = { user: "reader", study: "study", kind: "addendum", revision: 0 };
  const stored = { revision: 2, impression: "theirs", reason: "their reason", saved_by: "Dr. Other", saved_at: "" };
  refuse(409, stored);
  const made = new Draft(
    form,
    place,
    async (fields) => answer(fields),
    (state) => shown.push([state]),
  );
  type("added");
  type("my reason", reason);
  assert.match(sessionStorage.getItem(`${COPY}.addendum`), /added.*my reason/);
  assert.equal(sessionStorage.getItem(COPY), null);
  await pass(t, 2000);
  assert.deepEqual(shown.at(-1), ["conflict"]);
  made.takeStored();
  assert.deepEqual([field.value, reason.value], ["theirs", "their reason"]);
  assert.equal(sessionStorage.getItem(`${COPY}.addendum`), null);
});

test("a signed text is neither kept nor sent", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const made = draft();
  type("done");
  await made.pause();
  made.end();
  await pass(t, 5000);
  assert.deepEqual(sent, []);
  assert.equal(made.isUnsaved, false);
  assert.equal(sessionStorage.getItem(COPY), null);
});
