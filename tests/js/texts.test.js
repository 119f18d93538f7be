import assert from "node:assert/strict";
import { test } from "node:test";
import { fileSize, findingName, percent, reading, verdict } from "../../static/js/texts.js";

const finding = (label, threshold, positive = false) => ({ label, threshold, positive, probability: 0.5 });

test("labels are written as people write them", () => {
  assert.equal(findingName("Pleural_Thickening"), "Pleural thickening");
});

test("a probability never claims certainty", () => {
  assert.deepEqual([0, 0.0004, 0.5, 0.9999, 1].map(percent), ["0.1 %", "0.1 %", "50.0 %", "99.9 %", "99.9 %"]);
});

test("sizes have a unit", () => {
  assert.deepEqual([1, 1499, 999_499, 1_500_000].map(fileSize), ["1 kB", "1 kB", "999 kB", "1.5 MB"]);
});

test("the verdict counts flagged findings and names those without an operating point", () => {
  const quiet = [finding("Effusion", 0.4), finding("Mass", 0.5)];
  assert.equal(verdict(quiet, "net:1"), "No finding reaches its operating point");
  assert.equal(
    verdict([finding("Effusion", 0.4, true), ...quiet], "net:1"),
    "1 of 3 findings reach their operating point",
  );
  assert.equal(
    verdict([...quiet, finding("Hernia", null)], "net:1"),
    "No finding reaches its operating point; no operating point: Hernia",
  );
  assert.equal(verdict([finding("Hernia", null)], "net:1"), "net:1 has no operating points");
});

test("a result is announced in one line", () => {
  assert.equal(reading(null, false), "Read by AI");
  assert.equal(reading(0, true), "Read by AI: the version has no operating points");
  assert.deepEqual(
    [0, 1, 2].map((flagged) => reading(flagged, false)),
    ["Read by AI: no findings flagged", "Read by AI: 1 finding flagged", "Read by AI: 2 findings flagged"],
  );
});
