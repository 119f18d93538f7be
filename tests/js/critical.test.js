import assert from "node:assert/strict";
import { test } from "node:test";

test("the banner comes by itself, is said when more waits, and leaves the focus where it was", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  document.body.innerHTML =
    '<div id="critical-banner" data-url="/critical/banner/" data-poll-seconds="30"></div><p id="announce"></p>';
  const banner = document.getElementById("critical-banner");
  const said = document.getElementById("announce");
  let answer = { ok: true, text: async () => "" };
  t.mock.method(globalThis, "fetch", async () => answer);
  const pass = async (html, ok = true) => {
    answer = { ok, text: async () => html };
    t.mock.timers.tick(30_000);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  };
  await import("../../static/js/critical.js");

  await pass('<p data-critical="1">One waits <a href="#">Open</a></p>');
  assert.equal(said.textContent, "One waits Open");
  banner.querySelector("a").focus();
  said.textContent = "";
  await pass('<p data-critical="1">One waits for 2 minutes <a href="#">Open</a></p>');
  assert.equal(said.textContent, "", "no more waits than before");
  assert.equal(document.activeElement, banner.querySelector("a"));
  await pass("", true);
  assert.equal(banner.textContent, "");
  await pass("Sign in", false);
  assert.equal(banner.textContent, "", "a refusal is not shown");
});
