import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { listenForFiles } from "../../static/js/drop_zone.js";
import { byId } from "../../static/js/page.js";

let received;
let zone;
let input;

beforeEach(() => {
  document.body.innerHTML = '<div id="zone"><input id="input" type="file"></div><p id="beside"></p>';
  received = [];
  zone = byId("zone");
  input = byId("input");
  listenForFiles(zone, input, (files) => received.push(files.map((file) => file.name)));
});

const file = (name) => new File(["x"], name);
const fileEntry = (name) => ({ isFile: true, file: (resolve) => resolve(file(name)) });

/** A folder whose reader gives its entries in several batches, as browsers do. */
function folderEntry(...batches) {
  return { isFile: false, createReader: () => ({ readEntries: (resolve) => resolve(batches.shift() ?? []) }) };
}

async function drag(kind, target, dataTransfer = null) {
  const event = new Event(kind, { bubbles: true, cancelable: true });
  event.dataTransfer = dataTransfer;
  target.dispatchEvent(event);
  await new Promise(setImmediate);
  return event;
}

const dropped = (...entries) => ({ items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })), files: [] });

test("chosen files are received, and the same file can be chosen again", () => {
  Object.defineProperty(input, "files", { value: [file("a.dcm"), file("b.png")] });
  input.dispatchEvent(new Event("change"));
  assert.deepEqual(received, [["a.dcm", "b.png"]]);
  assert.equal(input.value, "");
});

test("dropped folders are opened to their last batch, without hidden files and directories of DICOM media", async () => {
  const inner = folderEntry([fileEntry("3.dcm"), fileEntry(".DS_Store")]);
  const folder = folderEntry([fileEntry("1.dcm"), fileEntry("DICOMDIR")], [fileEntry("2.dcm"), inner]);
  await drag("drop", zone, dropped(fileEntry("0.dcm"), folder));
  assert.deepEqual(received, [["0.dcm", "1.dcm", "2.dcm", "3.dcm"]]);
});

test("without entries, the files themselves are received", async () => {
  await drag("drop", zone, { items: [{ webkitGetAsEntry: () => null }, {}], files: [file("a.dcm")] });
  assert.deepEqual(received, [["a.dcm"]]);
});

test("the zone shows that a file is over it", async () => {
  await drag("dragenter", zone);
  assert.ok(zone.classList.contains("is-over"));
  await drag("dragleave", zone);
  assert.ok(!zone.classList.contains("is-over"));
  await drag("dragover", zone);
  await drag("drop", zone, dropped());
  assert.ok(!zone.classList.contains("is-over"));
});

test("a file that is dropped beside the zone is not received and does not replace the page", async () => {
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = await drag(kind, byId("beside"), dropped(fileEntry("a.dcm")));
    assert.ok(event.defaultPrevented, kind);
  }
  assert.deepEqual(received, []);
});
