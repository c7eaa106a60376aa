// node-postgres and its pool. See README.md for what each phase does.
"use strict";

const assert = require("node:assert");
const { once } = require("node:events");
const { pipeline } = require("node:stream/promises");
const { Readable } = require("node:stream");
const pg = require("pg");
const { from: copyFrom, to: copyTo } = require("pg-copy-streams");

const CLIENTS = 8;
const ROUNDS = 25;

const sqlstate = (promise) => promise.then(() => "none", (error) => error.code);

async function startup(client, who) {
  const { rows } = await client.query("select $1::int as n", [who]);
  assert.equal(rows[0].n, who);
}

async function plain(client, who) {
  const insert = { name: "insert", text: "insert into visit values ($1, $2, $3, $4, $5)" };
  const count = { name: "count", text: "select count(*)::int as n from visit where who = $1", values: [who] };
  const select = { name: "select", text: "select mood, tags, facts from visit where who = $1 and round = $2" };
  for (let round = 0; round < ROUNDS; round++) {
    const values = [who, round, "happy", ["a", "b c"], { round }];
    await client.query("begin");
    await client.query({ ...insert, values });
    assert.equal((await client.query(count)).rows[0].n, round + 1);
    await client.query("commit");
    assert.equal(await sqlstate(client.query({ ...insert, values })), "23505");
    const { rows } = await client.query({ ...select, values: [who, round] });
    assert.deepEqual(rows, [{ mood: "happy", tags: ["a", "b c"], facts: { round } }]);
  }
  const lines = Array.from({ length: 100 }, (_, number) => `${who}\t${number}\tword\n`);
  await pipeline(Readable.from(lines), client.query(copyFrom("copy bulk from stdin")));
  let text = "";
  for await (const chunk of client.query(copyTo(`copy (select * from bulk where who = ${who}) to stdout`))) text += chunk;
  assert.equal(text.split("\n").length, 101);
  await cancel(client);
  await startup(client, who);
}

async function cancel(client) {
  const query = new pg.Query("select pg_sleep(30)");
  const ended = new Promise((resolve) => {
    query.on("error", (error) => resolve(error.code));
    query.on("end", () => resolve("finished"));
  });
  client.query(query);
  setTimeout(() => new pg.Client().cancel(client, query), 300);
  assert.equal(await ended, "57014");
}

async function reset(client, who) {
  for (let round = 0; round < ROUNDS; round++) {
    assert.equal((await client.query("show statement_timeout")).rows[0].statement_timeout, "0");
    await client.query("set statement_timeout = '20s'");
    await startup(client, who);
    await client.query("discard all");
  }
}

async function main(phase) {
  if (phase === "version") return console.log(require("pg/package.json").version);
  const pool = new pg.Pool({ max: CLIENTS, connectionTimeoutMillis: 20000, idleTimeoutMillis: 0 });
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => pool.connect()));
  await Promise.all(clients.map({ startup, plain, reset }[phase]));
  clients.forEach((client) => client.release());
  console.log("idle");
  await once(process.stdin, "data");
  process.exit(0);
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
