// tests/browser/test_quick_check.py compares whole films with ml/model/transforms.py.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipped, isPlainPicture, isSupported, tensorOf } from "../../static/js/preprocess.js";

const SPACE = { size: 2, fit: "stretch", resize: "area", mean: [0, 0.5, 1], std: [1, 0.5, 0.25] };
const grey = (width, height, ...levels) => ({ width, height, pixels: Uint8Array.from(levels) });

async function read(blob) {
  const buffer = await blob.arrayBuffer();
  const start = 10 + new DataView(buffer).getUint16(8, true);
  const header = new TextDecoder().decode(buffer.slice(0, start));
  return { header, start, values: [...new Float32Array(buffer.slice(start))] };
}

/** The grey levels of the first channel, with mean 0 and deviation 1. */
const levels = async (image, space = SPACE) => {
  const { values } = await read(tensorOf(image, space));
  return values.slice(0, space.size ** 2).map((value) => Math.round(255 * value));
};

test("the file is a .npy of three channels, normalised one by one", async () => {
  const { header, start, values } = await read(tensorOf(grey(2, 2, 0, 51, 102, 255), SPACE));
  assert.match(header, /NUMPY.*'descr': '<f4', 'fortran_order': False, 'shape': \(1, 3, 2, 2\)/s);
  assert.equal(start % 64, 0);
  assert.ok(header.endsWith("\n"));
  const expected = [0, 0.2, 0.4, 1, -1, -0.6, -0.2, 1, -4, -3.2, -2.4, 0];
  values.forEach((value, at) => {
    assert.ok(Math.abs(value - expected[at]) < 1e-6, `${at}: ${value}`);
  });
});

test("shrinking averages areas, and enlarging interpolates", async () => {
  const quarters = grey(4, 4, 0, 10, 20, 30, 10, 20, 30, 40, 100, 100, 200, 200, 100, 101, 200, 203);
  // Pillow rounds after the rows and again after the columns: 100, 100, 100 and 101 become 101.
  assert.deepEqual(await levels(quarters), [10, 30, 101, 201]);
  assert.deepEqual(await levels(grey(1, 1, 77), { ...SPACE, size: 3 }), Array(9).fill(77));
  assert.deepEqual(await levels(grey(2, 1, 0, 100), { ...SPACE, size: 4 }), Array(4).fill([0, 25, 75, 100]).flat());
});

test("a crop takes the middle of the longer side", async () => {
  const rows = grey(2, 4, 0, 0, 10, 10, 20, 20, 30, 30);
  assert.deepEqual(await levels(rows, { ...SPACE, fit: "crop" }), [10, 10, 20, 20]);
  assert.deepEqual(await levels(rows), [5, 5, 25, 25]);
});

test("spaces that resample in other ways are left to the server", () => {
  assert.ok(isSupported({ fit: "crop", resize: "area" }));
  assert.ok(!isSupported({ fit: "square", resize: "area" }));
  assert.ok(!isSupported({ fit: "crop", resize: "bilinear" }));
});

test("only pictures whose grey levels browser and server decode alike are plain", async () => {
  const png = (depth, colour) => new Blob([Uint8Array.from([0x89, 0x50, 0x4e, 0x47, ...Array(20), depth, colour])]);
  const isPlain = await Promise.all(
    [png(8, 0), png(8, 2), png(16, 0), png(8, 3), png(8, 6), new Blob([Uint8Array.from([0xff, 0xd8, 0xff])])].map(
      isPlainPicture,
    ),
  );
  assert.deepEqual(isPlain, [true, true, false, false, false, true]);
  assert.equal(await isPlainPicture(new Blob(["DICM"])), false);
});

test("what is gzipped can be read again", async () => {
  const small = await gzipped(new Blob(["0".repeat(1000)]));
  assert.ok(small.size < 100);
  const whole = new Response(small.stream().pipeThrough(new DecompressionStream("gzip")));
  assert.equal(await whole.text(), "0".repeat(1000));
});
