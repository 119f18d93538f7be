import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { afterEach, beforeEach, test } from "node:test";
import { fingerprint, sendFile } from "../../static/js/resumable.js";
import { Link } from "../../static/js/upload_link.js";

// A small server of the tus protocol. Each of `faults` answers, or breaks, one request that it matches.
let server;
let base;
let uploads;
let stores;
let faults;
let session;
let states;
let waits;
let link;

beforeEach(async () => {
  [uploads, stores, faults, states, waits] = [new Map(), [], [], [], []];
  session = { member: "m1", csrf_token: "new" };
  server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const fault = faults.findIndex(({ method, path = "" }) => method === request.method && request.url.includes(path));
    if (fault >= 0) return faults.splice(fault, 1)[0].act(request, response, body);
    answer(request, response, body);
  });
  await new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  base = `http://127.0.0.1:${server.address().port}`;
  link = new Link({
    sessionUrl: `${base}/session/`,
    member: "m1",
    csrfToken: "old",
    onState: (state) => states.push(state),
    wait: async (seconds, signal) => {
      waits.push(seconds);
      signal?.throwIfAborted();
    },
  });
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

function answer(request, response, body) {
  if (request.url === "/session/") return response.writeHead(200).end(JSON.stringify(session));
  if (request.method === "POST" && request.url === "/parts/") {
    const mark = request.headers["upload-metadata"];
    if (!uploads.has(mark)) uploads.set(mark, Buffer.alloc(0));
    const index = [...uploads.keys()].indexOf(mark);
    const headers = { Location: `${base}/parts/${index}/`, "Upload-Offset": uploads.get(mark).length };
    return response.writeHead(201, headers).end();
  }
  const mark = [...uploads.keys()][Number(request.url.split("/")[2])];
  if (request.method === "PATCH") {
    assert.equal(request.headers["tus-resumable"], "1.0.0");
    const held = uploads.get(mark);
    if (Number(request.headers["upload-offset"]) !== held.length) return refuse(response, 409, "upload-offset");
    uploads.set(mark, Buffer.concat([held, body]));
    return response.writeHead(204, { "Upload-Offset": held.length + body.length }).end();
  }
  stores.push(new URLSearchParams(body.toString()));
  response.writeHead(200).end(JSON.stringify([{ name: "a", outcome: "stored", code: "", detail: "", study_url: "" }]));
}

function refuse(response, status, code = "", headers = {}) {
  const body = code ? JSON.stringify({ detail: `No: ${code}.`, code }) : "<h1>no</h1>";
  response.writeHead(status, headers).end(body);
}

const broken = { act: (request) => request.socket.destroy() };
const content = Buffer.from(Array.from({ length: 5_000_000 }, (_, index) => (index * 7919) % 251));
const file = (bytes = content) => new File([bytes], "film.dcm", { lastModified: 5 });

function sent(options = {}) {
  const progress = [];
  const outcome = sendFile(link, file(), {
    partsUrl: `${base}/parts/`,
    details: new URLSearchParams({ patient_id: "A" }),
    signal: new AbortController().signal,
    onProgress: (bytes) => progress.push(bytes),
    onChecking: () => progress.push("checking"),
    ...options,
  });
  return { outcome, progress };
}

const arrived = () => [...uploads.values()][0];

test("a file is sent in pieces and stored with its details and its digest", async () => {
  const { outcome, progress } = sent();
  assert.equal((await outcome)[0].outcome, "stored");
  assert.deepEqual(arrived(), content);
  assert.ok(progress.length > 3, "in several pieces");
  assert.deepEqual(progress.slice(-2), [content.length, "checking"]);
  const [form] = stores;
  assert.equal(form.get("sha256"), createHash("sha256").update(content).digest("hex"));
  assert.deepEqual([form.get("patient_id"), form.get("name"), form.get("attempt").length], ["A", "film.dcm", 32]);
});

test("broken connections cost their piece only, and the next pieces are smaller", async () => {
  const sizes = [];
  const lostAnswer = {
    method: "PATCH",
    act: (request, _response, body) => {
      // It arrived, and the answer was lost.
      answer(request, { writeHead: () => ({ end: () => {} }) }, body);
      request.socket.destroy();
    },
  };
  const counted = {
    method: "PATCH",
    act: (request, _response, body) => sizes.push(body.length) && request.socket.destroy(),
  };
  faults = [counted, { ...counted }, { ...counted }, lostAnswer, { method: "POST", path: "store", ...broken }];
  await sent().outcome;
  assert.deepEqual(arrived(), content);
  assert.deepEqual(sizes, [1048576, 524288, 262144]);
  assert.equal(stores.length, 1);
  assert.deepEqual(states, [
    "unreachable",
    "",
    "unreachable",
    "",
    "unreachable",
    "",
    "unreachable",
    "",
    "unreachable",
    "",
  ]);
});

test("a store whose answer is lost is asked again as the same attempt", async () => {
  const attempts = [];
  const lost = (request, _response, body) => {
    attempts.push(new URLSearchParams(body.toString()).get("attempt"));
    request.socket.destroy();
  };
  faults = [{ method: "POST", path: "store", act: lost }];
  await sent().outcome;
  assert.deepEqual(attempts, [stores[0].get("attempt")]);
});

test("what has arrived before is not sent again", async () => {
  uploads.set(`fingerprint ${btoa((await fingerprint(file())).text)}`, content.subarray(0, 4_000_000));
  const { outcome, progress } = sent();
  await outcome;
  assert.equal(progress[0], 4_000_000);
  assert.deepEqual(arrived(), content);
});

test("an upload that is gone or damaged begins again, but not for ever", async () => {
  const damaged = (_request, response) => {
    uploads.clear();
    refuse(response, 400, "upload-damaged");
  };
  faults = [{ method: "POST", path: "store", act: damaged }];
  await sent().outcome;
  assert.deepEqual(arrived(), content);
  faults = Array.from({ length: 9 }, () => ({ method: "POST", path: "store", act: damaged }));
  await assert.rejects(sent().outcome, { code: "upload-damaged" });
});

test("a busy server is waited for as long as it says, and given up at some time", async () => {
  const busy = (_request, response) => refuse(response, 429, "too-many-requests", { "Retry-After": "7" });
  faults = [{ method: "PATCH", act: busy }];
  await sent().outcome;
  assert.deepEqual(waits, [7]);
  assert.deepEqual(states, ["busy", ""]);
  const full = (_request, response) => refuse(response, 507, "out-of-space", { "Retry-After": "15" });
  faults = Array.from({ length: 20 }, () => ({ method: "POST", path: "/parts/", act: full }));
  await assert.rejects(sent().outcome, { status: 507, code: "out-of-space" });
});

test("an ended session is waited for; another member's is not used", async () => {
  const out = (_request, response) => refuse(response, 401, "signed-out");
  faults = [
    { method: "PATCH", act: out },
    { method: "GET", act: out },
  ];
  await sent().outcome;
  assert.deepEqual(states, ["signed-out", ""]);
  assert.equal(link.csrfToken, "new");
  uploads.clear();
  session = { member: "m2", csrf_token: "x" };
  faults = [{ method: "PATCH", act: out }];
  await assert.rejects(sent().outcome, { code: "other-member" });
  assert.equal(states.at(-1), "other-member");
  assert.equal(arrived().length, 0);
});

test("a token that was renewed in another window is fetched once", async () => {
  const forged = (_request, response) => refuse(response, 403);
  faults = [{ method: "POST", act: forged }];
  await sent().outcome;
  faults = [
    { method: "POST", act: forged },
    { method: "POST", act: forged },
  ];
  await assert.rejects(sent().outcome, { status: 403 });
});

test("a refusal and a cancelled file end at once", async () => {
  faults = [{ method: "POST", act: (_request, response) => refuse(response, 413, "unfinished-uploads") }];
  await assert.rejects(sent().outcome, { status: 413, message: "No: unfinished-uploads." });
  const cancelling = new AbortController();
  const { outcome } = sent({ signal: cancelling.signal, onProgress: () => cancelling.abort() });
  await assert.rejects(outcome, { name: "AbortError" });
  assert.equal(stores.length, 0);
});

test("files with other content have other fingerprints, by their ends where they are large", async () => {
  const [one, same, other] = await Promise.all([file(), file(), file(content.toReversed())].map(fingerprint));
  assert.deepEqual(one, same);
  assert.notEqual(one.text, other.text);
  const large = new Uint8Array(65 * 1024 * 1024);
  const first = await fingerprint(file(large));
  large[large.length - 1] = 1;
  assert.notEqual(first.text, (await fingerprint(file(large))).text);
  assert.equal(first.sha256, "");
});
