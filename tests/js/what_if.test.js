import assert from "node:assert/strict";
import { test } from "node:test";

test("the slider shows the figures of its step and fills the form in", async () => {
  document.body.innerHTML = `
    <div id="what-if"><input id="threshold" type="range" min="0" max="1" value="0" data-steps="steps">
      <b data-figure="threshold"></b><b data-figure="flagged"></b><b data-figure="per_day"></b><b data-figure="sensitivity"></b>
    </div>
    <script type="application/json" id="steps">[
      {"threshold": 0.25, "flagged": 7, "per_day": 1.25, "sensitivity": null},
      {"threshold": 0.5, "flagged": 0, "per_day": 0, "sensitivity": 0.875}]</script>
    <form><input name="value" value="0.1"><select name="strategy"><option>youden</option><option>manual</option></select></form>`;
  await import("../../static/js/what_if.js");
  const slider = document.getElementById("threshold");
  const figures = () => [...document.querySelectorAll("[data-figure]")].map((cell) => cell.textContent);
  const form = () => ["value", "strategy"].map((name) => document.querySelector(`[name=${name}]`).value);
  assert.deepEqual(figures(), ["0.250", "7", "1.3", "–"]);
  assert.deepEqual(form(), ["0.1", "youden"]);

  slider.value = "1";
  slider.dispatchEvent(new Event("input"));

  assert.deepEqual(figures(), ["0.500", "0", "0.0", "0.875"]);
  assert.deepEqual(form(), ["0.5000", "manual"]);
  assert.equal(slider.getAttribute("aria-valuetext"), "0.500");
});
