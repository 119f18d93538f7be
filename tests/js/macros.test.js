import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { listenForTexts } from "../../static/js/macros.js";

let field;

document.body.innerHTML = '<p id="announce"></p><main></main>';
listenForTexts(document);

beforeEach(() => {
  document.querySelector("main").innerHTML = `<form>
    <input type="hidden" name="csrfmiddlewaretoken" value="token">
    <textarea name="impression"></textarea>
    <div data-text-picker>
      <select name="text">
        <option value="findings">Agreed findings</option>
        <option value="1" data-name="normal" data-text="No acute finding.">normal</option>
        <option value="2" data-name="größe" data-text="Größe unverändert.">größe</option>
      </select>
      <button type="button" data-action="insert-text" formaction="/insert/">Insert</button>
    </div>
    <p data-problem hidden></p>
  </form>`;
  field = document.querySelector("textarea");
});

async function press(key, text, options = {}) {
  field.value = text;
  field.setSelectionRange(text.length, text.length);
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options });
  field.dispatchEvent(event);
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  return event.defaultPrevented;
}

test("a full stop, a name and Tab insert the text, and the draft hears of it", async () => {
  let inputs = 0;
  field.addEventListener("input", () => {
    inputs += 1;
  });
  assert.ok(await press("Tab", "Compared with 2020. .normal"));
  assert.equal(field.value, "Compared with 2020. No acute finding.");
  assert.equal(inputs, 1);
  assert.equal(field.selectionStart, field.value.length);
  assert.match(document.getElementById("announce").textContent, /No acute finding/);
  assert.ok(await press("Tab", ".GRÖSSE".replace("SS", "ß")));
  assert.equal(field.value, "Größe unverändert.");
});

test("Tab leaves the field where no text has the name", async () => {
  for (const text of ["", "normal", "1.normal", ".unknown", "Read.normal"]) {
    assert.equal(await press("Tab", text), false, text);
    assert.equal(field.value, text);
  }
  assert.equal(await press("Tab", ".normal", { shiftKey: true }), false);
  assert.equal(await press("Enter", ".normal"), false);
});

test("the chosen text is inserted where the cursor is", async () => {
  field.value = "Left  right";
  field.setSelectionRange(5, 5);
  document.querySelector("select").value = "1";
  document.querySelector("button").click();
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  assert.equal(field.value, "Left No acute finding. right");
  assert.ok(document.querySelector("[data-problem]").hidden);
});

test("the server makes the text of the findings; its refusal is shown and changes nothing", async (t) => {
  const asked = [];
  const answer = [
    { ok: true, status: 200, json: async () => ({ text: "Effusion." }) },
    { ok: false, status: 409, headers: new Headers(), json: async () => ({ detail: "There is no finding yet." }) },
  ];
  t.mock.method(globalThis, "fetch", async (url, options) => {
    asked.push([String(url), options.body.get("text")]);
    return answer.shift();
  });
  document.querySelector("select").value = "findings";
  for (const [text, problem] of [
    ["Effusion.", ""],
    ["Effusion.", "There is no finding yet."],
  ]) {
    document.querySelector("button").click();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(field.value, text);
    assert.equal(document.querySelector("[data-problem]").textContent, problem);
  }
  assert.deepEqual(
    asked.map(([, text]) => text),
    ["findings", "findings"],
  );
});

test("what is typed until the server answers stays, and the caret stays behind it", async (t) => {
  document.querySelector("option").dataset.name = "findings";
  let answer = (_) => {};
  t.mock.method(globalThis, "fetch", () => new Promise((resolve) => (answer = resolve)));
  await press("Tab", "Old. .findings");
  field.value += " Compared with 2020";
  field.setSelectionRange(field.value.length, field.value.length);
  answer({ ok: true, status: 200, json: async () => ({ text: "Effusion." }) });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(field.value, "Old. Effusion. Compared with 2020");
  assert.equal(field.selectionStart, field.value.length);
});
