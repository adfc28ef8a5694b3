// The application's tests. No container is started, no model is called, and nothing costs anything.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { NoReply, Replies, TooExpensive } from "./replies.js";
import { startServer } from "./server.js";

const TICKET = "My parcel has not come.\n";
const REPLY = "We are sorry. A new parcel is on its way.\n";
const DRAFTED = { finish: { message: "Offers a new parcel.", files: { "reply.txt": REPLY } } };

let server, replies;

before(async () => {
  server = await startServer();
});

after(() => server.stop());

beforeEach(() => {
  replies = new Replies(server.url, server.key, { pauseMs: 10 });
});

afterEach(async () => {
  assert.deepEqual(await server.problems(), []);
  await server.reset();
});

test("a reply comes back as a file, and the agent is heard meanwhile", async () => {
  await server.script({ say: "I look for the parcel." }, { tool: { command: "grep parcel task_files/ticket.txt", output: TICKET } }, DRAFTED);
  const words = [];
  assert.deepEqual(await replies.draft(TICKET, { onWords: (text) => words.push(text) }), {
    reply: REPLY,
    summary: "Offers a new parcel.",
  });
  assert.ok(words.includes("I look for the parcel."), words.join());
});

for (const kind of [{ fault: 503 }, { fault: "dropped_after" }]) {
  test(`an order is repeated after ${kind.fault}, and carried out once`, async () => {
    await server.script(DRAFTED);
    await server.fault({ kind: "http", ...kind, times: 2, path: "/agents/*/tasks" });
    assert.equal((await replies.draft(TICKET)).reply, REPLY);
    assert.equal((await server.faults())[0].happened, 2);
    assert.equal((await server.get("/tasks")).data.length, 1);
  });
}

test("an agent whose model refuses drafts nothing", async () => {
  await server.script({ fail: "This model does not read tickets." });
  await assert.rejects(replies.draft(TICKET), (error) => error instanceof NoReply && /does not read/.test(error.message));
});

test("a reply that costs too much is given up", async () => {
  await server.script(...Array(20).fill({ tool: { command: "think", output: "x".repeat(40_000) } }), DRAFTED);
  await assert.rejects(replies.draft(TICKET, { maxCostUsd: 0.1 }), TooExpensive);
});

test("an order can be cancelled", async () => {
  await server.script({ wait: 3600 }, DRAFTED);
  const taskId = await replies.order(TICKET);
  const collected = replies.collect(taskId);
  await replies.cancel(taskId);
  await assert.rejects(collected, /cancelled/);
});

test("questions are one conversation, until seven days have passed", async () => {
  await server.conversation([{ say: "It was lost." }], [{ say: "In Lyon." }]);
  const ask = replies.about(TICKET);
  assert.equal(await ask("Where is the parcel?"), "It was lost.");
  assert.equal(await ask("Where was it lost?"), "In Lyon.");
  await server.advance("7d");
  assert.equal(await ask("Where is the parcel?"), "It was lost.");
  const tasks = (await server.get("/tasks")).data;
  assert.deepEqual(tasks.map((task) => task.status).sort(), ["awaiting_input", "expired"]);
});
