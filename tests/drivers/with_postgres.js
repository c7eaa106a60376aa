// postgres.js, which pools and pipelines by itself. See README.md for what each phase does.
"use strict";

const assert = require("node:assert");
const { once } = require("node:events");
const { pipeline } = require("node:stream/promises");
const { Readable } = require("node:stream");
const { readFileSync } = require("node:fs");
const postgres = require("postgres");

const CLIENTS = 8;
const ROUNDS = 25;

const sqlstate = (promise) => promise.then(() => "none", (error) => error.code);

async function startup(sql, who) {
  assert.equal((await sql`select ${who}::int as n`)[0].n, who);
}

async function plain(sql, who) {
  for (let round = 0; round < ROUNDS; round++) {
    const row = { who, round, mood: "happy", tags: ["a", "b c"], facts: { round } };
    const insert = (sql) => sql`insert into visit values (${who}, ${round}, ${row.mood}, ${row.tags}, ${sql.json(row.facts)})`;
    await sql.begin(async (sql) => {
      await insert(sql);
      const [{ n }] = await sql`select count(*)::int as n from visit where who = ${who}`;
      assert.equal(n, round + 1);
    });
    assert.equal(await sqlstate(insert(sql)), "23505");
    const [seen] = await sql`select * from visit where who = ${who} and round = ${round}`;
    assert.deepEqual({ ...seen }, row);
    // One write of several statements.
    const both = await Promise.all([sql`select ${round}::int as n`, sql`select ${round + 1}::int as n`]);
    assert.deepEqual(both.map((rows) => rows[0].n), [round, round + 1]);
  }
  const lines = Array.from({ length: 100 }, (_, number) => `${who}\t${number}\tword\n`);
  await pipeline(Readable.from(lines), await sql`copy bulk from stdin`.writable());
  let text = "";
  for await (const chunk of await sql`copy (select * from bulk where who = ${sql.unsafe(String(who))}) to stdout`.readable()) text += chunk;
  assert.equal(text.split("\n").length, 101);
  const query = sql`select pg_sleep(30)`;
  setTimeout(() => query.cancel(), 300);
  assert.equal(await sqlstate(query), "57014");
  await startup(sql, who);
}

async function reset(sql, who) {
  for (let round = 0; round < ROUNDS; round++) {
    assert.equal((await sql`show statement_timeout`)[0].statement_timeout, "0");
    await sql`set statement_timeout = '20s'`;
    await startup(sql, who);
    await sql.unsafe("discard all");
  }
}

async function main(phase) {
  if (phase === "version") return console.log(JSON.parse(readFileSync(`${process.env.NODE_PATH}/postgres/package.json`)).version);
  const sql = postgres({ max: CLIENTS, connect_timeout: 20, onnotice: () => {} });
  // One connection for each: the pool would mix the settings of `reset`.
  const reserved = await Promise.all(Array.from({ length: CLIENTS }, () => sql.reserve()));
  for (const one of reserved) one.begin = (work) => transaction(one, work);
  await Promise.all(reserved.map({ startup, plain, reset }[phase]));
  console.log("idle");
  await once(process.stdin, "data");
  process.exit(0);
}

// A reserved connection has no `begin` of its own.
async function transaction(sql, work) {
  await sql`begin`;
  await work(sql);
  await sql`commit`;
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
