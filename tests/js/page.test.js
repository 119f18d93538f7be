import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { announce, byId, copyOf, find, findAll, isTyping, poll } from "../../static/js/page.js";

beforeEach(() => {
  document.body.innerHTML = `
    <p id="announce"></p><div id="box"><b class="one">1</b><b>2</b></div>
    <input id="text"><input id="slider" type="range"><input id="tick" type="checkbox"><dialog id="dialog" open><p id="inside"></p></dialog>
    <template id="line"><li class="line"><span></span></li></template>`;
});

test("an element is found by its id or selector, with the class that its caller needs", () => {
  assert.equal(find(byId("box"), ".one").textContent, "1");
  assert.deepEqual(
    findAll(byId("box"), "b").map((each) => each.textContent),
    ["1", "2"],
  );
  assert.equal(byId("text", HTMLInputElement).value, "");
  assert.throws(() => byId("absent"), /has no HTMLElement #absent/);
  assert.throws(() => byId("box", HTMLInputElement), /has no HTMLInputElement #box/);
});

test("copies of a template are independent", () => {
  const copy = copyOf("line");
  copy.remove();
  find(copy, "span").textContent = "changed";
  assert.equal(copy.className, "line");
  assert.equal(copyOf("line").textContent, "");
});

test("screen readers are given a text", () => {
  announce("One study changed");
  assert.equal(byId("announce").textContent, "One study changed");
});

test("keys in fields, in dialogs and with modifiers are no shortcuts", () => {
  const isTypingAt = (id, modifiers = {}) => {
    let result;
    const listen = (event) => {
      result = isTyping(event);
    };
    document.addEventListener("keydown", listen);
    byId(id).dispatchEvent(new KeyboardEvent("keydown", { key: "h", bubbles: true, ...modifiers }));
    document.removeEventListener("keydown", listen);
    return result;
  };
  assert.deepEqual(
    ["box", "slider", "tick", "text", "inside"].map((id) => isTypingAt(id)),
    [false, false, false, true, true],
  );
  for (const modifier of ["ctrlKey", "metaKey", "altKey"]) assert.equal(isTypingAt("box", { [modifier]: true }), true);
});

test("polling waits longer after each failure, pauses while the page is hidden, and ends with false", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let answer = () => Promise.reject(new Error("no connection"));
  let calls = 0;
  poll(1, () => {
    calls += 1;
    return answer();
  });
  const pass = async (seconds) => {
    for (let second = 0; second < seconds; second += 1) {
      t.mock.timers.tick(1000);
      for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    }
    return calls;
  };
  assert.equal(await pass(1), 1);
  assert.equal(await pass(1), 1);
  assert.equal(await pass(1), 2, "2 s after the first failure");
  assert.equal(await pass(3), 2);
  assert.equal(await pass(1), 3, "4 s after the second");
  answer = () => Promise.resolve();
  assert.equal(await pass(8), 4);
  assert.equal(await pass(1), 5, "1 s after a success");

  const state = t.mock.method(document, "visibilityState", () => "hidden", { getter: true });
  assert.equal(await pass(3), 5);
  state.mock.restore();

  answer = () => Promise.resolve(false);
  assert.equal(await pass(1), 6);
  assert.equal(await pass(20), 6);
});
