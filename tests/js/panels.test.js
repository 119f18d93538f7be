import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { byId, find } from "../../static/js/page.js";
import { Panels } from "../../static/js/panels.js";

const html = ({
  ai = "waits",
  kind = "write",
  note = "none",
  job = "",
  id = "sign-form",
}) => `<div id="panels-content" data-token="${ai}">
  <section data-part="ai"><button id="pick">${ai}</button></section>
  <section data-part="report" data-kind="${kind}"><form id="${id}" action="/${id}/">
    <input type="hidden" name="csrfmiddlewaretoken" value="${Math.random()}"><p data-part="note">${note}</p>
    <textarea id="t"></textarea><p data-part="fields"><input type="hidden" name="job" value="${job}"></p></form></section></div>`;
let panels;

beforeEach(() => {
  document.body.innerHTML = `<div id="panels">${html({})}</div>`;
  panels = new Panels(byId("panels"));
});

test("a result that arrives leaves the text and the focus where they are", () => {
  const field = byId("t", HTMLTextAreaElement);
  field.value = "typed";
  field.focus();
  assert.ok(panels.replace(html({ ai: "read", note: "with AI", job: "7", id: "commit-form" }), true));
  assert.equal(find(document, "form", HTMLFormElement).id, "commit-form");
  assert.match(find(document, "form", HTMLFormElement).action, /commit-form/);
  assert.equal(byId("t"), field);
  assert.equal(document.activeElement, field);
  assert.equal(field.value, "typed");
  assert.deepEqual([byId("pick").textContent, find(document, "[data-part=note]").textContent], ["read", "with AI"]);
  assert.equal(find(document, "[name=job]", HTMLInputElement).value, "7");
  assert.equal(byId("panels-content").dataset.token, "read");
});

test("a form in use stays where the server has another one, and its script is informed", () => {
  byId("t", HTMLTextAreaElement).value = "typed";
  assert.equal(panels.replace(html({ kind: "signed" }), true), false);
  assert.equal(byId("t", HTMLTextAreaElement).value, "typed");
  assert.ok(panels.replace(html({ kind: "signed" }), false));
  assert.equal(find(document, "[data-part=report]").dataset.kind, "signed");
});

test("a part that did not change is left alone, whatever the tokens are; the focus follows a new one", () => {
  const [form, pick] = [byId("sign-form"), byId("pick")];
  panels.replace(html({}), false);
  assert.equal(byId("sign-form"), form);
  pick.focus();
  panels.replace(html({ ai: "read" }), false);
  assert.notEqual(byId("pick"), pick);
  assert.equal(document.activeElement, byId("pick"));
});

test("a part that the page does not know is left out, and those after it are shown", () => {
  const newer = html({ ai: "read" }).replace(
    "<section data-part",
    '<div data-part="newer">new</div><section data-part',
  );
  assert.ok(panels.replace(newer, false));
  assert.equal(byId("pick").textContent, "read");
  assert.equal(document.querySelector('[data-part="newer"]'), null);
});
