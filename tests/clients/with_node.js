// node-postgres in its usual ways. Prints one line a step; the lines must not depend on the server.
"use strict";

const { pipeline } = require("node:stream/promises");
const { Readable } = require("node:stream");
const pg = require("pg");
const Cursor = require("pg-cursor");
const { from: copyFrom, to: copyTo } = require("pg-copy-streams");

const say = (step, value) => console.log(`${step}: ${JSON.stringify(value)}`);

async function transactions(client) {
  await client.query("create table account (id int primary key, sum int)");
  await client.query("begin");
  await client.query("insert into account values ($1, $2), (2, 100)", [1, 100]);
  await client.query("commit");
  await client.query("begin");
  await client.query("delete from account");
  await client.query("rollback");
  say("rows", (await client.query("select * from account order by id")).rows);
}

async function errors(client) {
  for (const sql of ["insert into account values (1, 1)", "select nothing", "selec"]) {
    await client.query(sql).catch((error) => say("error", [error.code, error.message]));
  }
  await client.query("begin");
  await client.query("select 1/0").catch((error) => say("error", error.code));
  await client.query("select 1").catch((error) => say("in failed transaction", error.code));
  await client.query("rollback");
  say("alive", (await client.query("select 1 as one")).rows);
}

async function prepared(client) {
  const twice = { name: "twice", text: "select $1::int * 2 as twice" };
  for (let number = 0; number < 10; number++) {
    const { rows } = await client.query({ ...twice, values: [number] });
    if (rows[0].twice !== number * 2) throw new Error(`wrong answer ${rows[0].twice}`);
  }
  say("prepared", (await client.query({ ...twice, values: [21] })).rows);
}

async function copies(client) {
  await client.query("create table bulk (a int, b text)");
  const lines = Array.from({ length: 20000 }, (_, number) => `${number}\trow ${number}\n`);
  await pipeline(Readable.from(lines), client.query(copyFrom("copy bulk from stdin")));
  let size = 0;
  for await (const chunk of client.query(copyTo("copy bulk to stdout"))) size += chunk.length;
  say("copy", [(await client.query("select count(*) from bulk")).rows, size]);
}

async function largeResults(client) {
  const sql = "select g, repeat('x', 100) from generate_series(1, 100000) g";
  say("rows", (await client.query(sql)).rows.reduce((sum, row) => sum + row.g, 0));
  await client.query("begin");
  const cursor = client.query(new Cursor("select generate_series(1, 1000) as g"));
  let total = 0;
  for (let rows = await cursor.read(100); rows.length > 0; rows = await cursor.read(100)) {
    total += rows.reduce((sum, row) => sum + row.g, 0);
  }
  await cursor.close();
  await client.query("commit");
  say("cursor", total);
}

async function cancels(client) {
  const query = new pg.Query("select pg_sleep(30)");
  const ended = new Promise((resolve) => {
    query.on("error", (error) => resolve(error.code));
    query.on("end", () => resolve("finished"));
  });
  client.query(query);
  setTimeout(() => new pg.Client().cancel(client, query), 1000);
  say("cancelled", await ended);
  say("alive", (await client.query("select 1 as one")).rows);
}

async function pools() {
  const pool = new pg.Pool({ max: 20 });
  const answers = Array.from({ length: 200 }, async (_, number) => {
    const { rows } = await pool.query({ name: "pooled", text: "select $1::int as n", values: [number] });
    return rows[0].n;
  });
  say("pool", (await Promise.all(answers)).reduce((sum, n) => sum + n, 0));
  await pool.end();
}

// Eight clients at once, more than there are servers behind a proxy.
async function crowd(client) {
  await client.query("create table crowd (who int, round int, primary key (who, round))");
  const insert = { name: "insert", text: "insert into crowd values ($1, $2)" };
  const count = { name: "count", text: "select count(*)::int as n from crowd where who = $1" };
  const work = async (mine, who) => {
    for (let number = 0; number < 25; number++) {
      await mine.query("begin");
      await mine.query({ ...insert, values: [who, number] });
      await mine.query("commit");
      const twice = mine.query({ ...insert, values: [who, number] });
      const code = await twice.then(() => "none", (error) => error.code);
      if (code !== "23505") throw new Error(`expected a violation, got ${code}`);
      const { rows } = await mine.query({ ...count, values: [who] });
      if (rows[0].n !== number + 1) throw new Error(`wrong count ${rows[0].n}`);
    }
  };
  const clients = Array.from({ length: 8 }, () => new pg.Client({ connectionTimeoutMillis: 20000 }));
  await Promise.all(clients.map((mine) => mine.connect()));
  await Promise.all(clients.map(work));
  await Promise.all(clients.map((mine) => mine.end()));
  say("crowd", (await client.query("select count(*), count(distinct who) from crowd")).rows);
}

async function main() {
  const client = new pg.Client({ connectionTimeoutMillis: 20000 });
  await client.connect();
  for (const part of [transactions, errors, prepared, copies, largeResults, cancels, crowd]) {
    console.log(`# ${part.name}`);
    await part(client);
  }
  await client.end();
  console.log("# pools");
  await pools();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
