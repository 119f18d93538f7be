import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Overlay } from "../../static/js/overlay.js";
import { byId, find } from "../../static/js/page.js";

let overlay;

const row = (label, more) =>
  `<tr data-label="${label}" data-name="${label}" ${more}><td><button class="pick"></button></td></tr>`;

beforeEach(() => {
  document.body.innerHTML = `<p id="announce"></p><button data-action="overlay"></button><button data-action="keep-overlay"></button>
    <select id="overlay-mode"><option value="both">Both</option><option value="heatmap">Heatmap</option>
    <option value="contour">Contour</option></select><img id="film"><svg id="contours"></svg><input id="opacity" type="range">
    <img id="overlay" hidden><p id="overlay-tag" hidden></p><div id="scale" hidden><b id="scale-name"></b></div>
    <table id="panels"><tbody>${row("Mass", 'data-map="1"')}${row("Effusion", 'class="is-flagged" data-map="2" data-localised')}
    ${row("Hernia", "")}</tbody></table>`;
  overlay = new Overlay(byId("panels"), "/maps/LABEL.png", { show() {} }, () => {});
});

const shown = () => (byId("overlay").hidden ? "" : byId("overlay-tag").textContent);

test("the film comes first: no map is shown before it is asked for, unless the hospital wants it", () => {
  overlay.start(false);
  assert.equal(shown(), "");
  assert.equal(overlay.picked.dataset.label, "Effusion");
  overlay.toggle();
  assert.equal(shown(), "AI overlay: Effusion");
  overlay.start(true);
  assert.equal(shown(), "AI overlay: Effusion");
});

test("a short press switches the overlay, a held one shows it as long as it is held", () => {
  overlay.start(false);
  overlay.press(1000);
  overlay.release(1100);
  assert.equal(shown(), "AI overlay: Effusion");
  overlay.press(2000);
  assert.equal(shown(), "");
  overlay.release(2600);
  assert.equal(shown(), "AI overlay: Effusion", "held, it shows the film alone for that time");
  overlay.toggle();
  overlay.press(3000);
  assert.notEqual(shown(), "");
  overlay.release(3600);
  assert.equal(shown(), "");
  overlay.release(9000);
  assert.equal(shown(), "", "the release of another key is none");
});

test("keys go through the findings, and a map follows where one was shown", () => {
  overlay.start(false);
  overlay.move(-1);
  assert.equal(document.activeElement, find(document, "tr[data-label=Mass] .pick"));
  assert.equal(shown(), "");
  overlay.toggle();
  assert.equal(shown(), "AI overlay: Mass, location not validated");
  overlay.move(1);
  assert.equal(shown(), "AI overlay: Effusion");
  overlay.move(1);
  overlay.move(1);
  assert.equal(overlay.picked.dataset.label, "Hernia");
  assert.equal(shown(), "", "it has no map");
  assert.equal(overlay.toggle(), false);
});

test("maps that are kept stay while others are picked, and all of them hide together", () => {
  globalThis.fetch = async () => new Response(JSON.stringify({ rows: 1, columns: 1, values: [255] }));
  overlay.start(true);
  overlay.keep();
  overlay.choose(overlay.rows[0]);
  assert.deepEqual(
    [...byId("overlay-tag").children].map(({ textContent }) => textContent),
    ["AI overlay: Mass, location not validated", "AI overlay: Effusion"],
  );
  assert.equal(document.querySelectorAll("img.overlay").length, 1);
  assert.equal(overlay.layers.nextMode(), "Heatmap");
  assert.equal(overlay.layers.nextMode(), "Contour");
  assert.equal(document.querySelectorAll("img.overlay").length, 0);
  overlay.toggle();
  assert.equal(shown(), "");
  assert.ok(byId("overlay-tag").hidden);
});
