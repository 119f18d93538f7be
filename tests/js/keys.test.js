import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { keysOf, listenForKeys } from "../../static/js/keys.js";
import { byId } from "../../static/js/page.js";

const done = [];

test("the list that the user reads is the map of the keys", () => {
  document.body.innerHTML = `<dialog id="help"><dl>
      <div data-keys="1 2" data-run="finding"></div><div data-keys="z" data-run="in" data-repeats></div>
      <div data-keys="Z" data-run="out"></div><div data-keys="Ctrl+Enter" data-run="sign"></div><div></div></dl></dialog>
    <input id="slider" type="range"><textarea id="text"></textarea><dialog id="open" open><p id="inside"></p></dialog>`;
  const actions = ["finding", "in", "out", "sign"];
  listenForKeys(keysOf(byId("help")), Object.fromEntries(actions.map((name) => [name, () => done.push(name)])));
});

beforeEach(() => {
  done.length = 0;
});

function press(key, id = "slider", more = {}) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  byId(id).dispatchEvent(event);
  return event.defaultPrevented;
}

test("letters work on a slider, whose arrow keys stay its own; Caps Lock makes no difference", () => {
  for (const key of ["1", "2", "z", "Z", "q"]) press(key);
  assert.deepEqual(done, ["finding", "finding", "in", "out"]);
  assert.equal(press("ArrowLeft"), false);
});

test("a key of a text, of a dialog or of the browser is left alone, but for the signature", () => {
  press("1", "text");
  press("1", "inside");
  press("1", "slider", { ctrlKey: true });
  press("1", "slider", { altKey: true });
  press("z", "slider", { isComposing: true });
  assert.deepEqual(done, []);
  press("Enter", "text");
  press("Enter", "inside", { ctrlKey: true });
  assert.deepEqual(done, []);
  assert.equal(press("Enter", "text", { ctrlKey: true }), true);
  press("Enter", "text", { metaKey: true });
  assert.deepEqual(done, ["sign", "sign"]);
});

test("a held key repeats only what may be repeated", () => {
  press("z", "slider", { repeat: true });
  press("1", "slider", { repeat: true });
  assert.deepEqual(done, ["in"]);
});
