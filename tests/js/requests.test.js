import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { FollowedJson, RequestError, refusal, requestHtml, requestJson } from "../../static/js/requests.js";

let answer;
let received;
let base;
let server;

before(async () => {
  server = createServer((request, response) => {
    received = request;
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  base = `http://127.0.0.1:${server.address().port}/`;
});

after(() => server.close());

const problem = (status, body, headers = {}) => ({ status, headers, body: JSON.stringify(body) });

test("JSON and HTML come back as they are", async () => {
  answer = { status: 200, body: '{"status": "complete"}' };
  assert.deepEqual(await requestJson(base), { status: "complete" });
  assert.equal(received.headers.accept, "application/json");

  answer = { status: 200, body: "<p>part</p>" };
  assert.equal(await requestHtml(base), "<p>part</p>");
  assert.equal(received.headers["x-fragment"], "1");
});

test("JSON that has not changed is the former one", async () => {
  const state = new FollowedJson(base);
  answer = { status: 200, headers: { ETag: 'W/"1"' }, body: '{"status": "running"}' };
  assert.deepEqual(await state.load(), { status: "running" });
  assert.equal(received.headers["if-none-match"], undefined);
  answer = { status: 304, headers: { ETag: 'W/"1"' } };
  assert.deepEqual(await state.load(), { status: "running" });
  assert.equal(received.headers["if-none-match"], 'W/"1"');
  answer = { status: 200, headers: { ETag: 'W/"2"' }, body: '{"status": "complete"}' };
  assert.deepEqual(await state.load(), { status: "complete" });
});

test("an ended session reloads the page; other refusals do not", async (t) => {
  const reload = t.mock.method(location, "reload", () => {});
  for (const status of [403, 404, 409, 503]) {
    answer = problem(status, { detail: "Not now." });
    await assert.rejects(requestJson(base), { status, message: "Not now." });
  }
  assert.equal(reload.mock.callCount(), 0);

  answer = problem(401, { detail: "Your session has ended: sign in again.", code: "signed-out" });
  await assert.rejects(requestJson(base), { status: 401, code: "signed-out", message: /sign in again/ });
  assert.equal(reload.mock.callCount(), 1);
  await assert.rejects(requestHtml(base), { status: 401 });
  assert.equal(reload.mock.callCount(), 2);
});

test("the user reads the detail of the problem, or else what to do", async () => {
  assert.equal(refusal(403, { detail: "This needs the role radiologist." }), "This needs the role radiologist.");
  assert.match(refusal(403), /out of date: reload/);
  assert.match(refusal(502), /answered with 502: try again/);
  assert.match(refusal(0), /could not be reached: try again/);

  answer = { status: 502, body: "<h1>Bad gateway</h1>" };
  await assert.rejects(requestJson(base), { status: 502, message: /answered with 502/ });
  await assert.rejects(requestJson("http://127.0.0.1:1/"), (error) => {
    assert.ok(error instanceof RequestError);
    return error.status === 0 && /could not be reached/.test(error.message);
  });
});

test("the code and the wait that the server asks for are kept", async () => {
  answer = problem(503, { detail: "Busy.", code: "busy" }, { "Retry-After": "3" });
  await assert.rejects(requestJson(base, { method: "POST", body: "x" }), { code: "busy", retryAfter: 3 });
  assert.equal(received.method, "POST");
});
