"""asyncpg in its usual ways. Prints one line a step; the lines must not depend on the server."""

import asyncio

import asyncpg


def say(step, value):
    print(f"{step}: {value}", flush=True)


async def transactions(conn):
    await conn.execute("create type mood as enum ('sad', 'happy')")
    await conn.execute("create table person (name text primary key, mood mood, tags text[])")
    async with conn.transaction():
        insert = "insert into person values ($1, $2, $3)"
        await conn.execute(insert, "ann", "happy", ["a", "b"])
        try:
            async with conn.transaction():
                await conn.execute(insert, "ann", "sad", [])
        except asyncpg.UniqueViolationError as error:
            say("savepoint", error.sqlstate)
    try:
        async with conn.transaction():
            await conn.execute("delete from person")
            raise KeyError
    except KeyError:
        pass
    say("rows", [tuple(row) for row in await conn.fetch("select * from person")])
    say("array of enum", await conn.fetchval("select array['sad', 'happy']::mood[]"))


async def errors(conn):
    for sql in ("select nothing", "selec", "select 1/0"):
        try:
            await conn.fetch(sql)
        except asyncpg.PostgresError as error:
            say("error", (error.sqlstate, str(error)))
    say("alive", await conn.fetchval("select 1"))


async def prepared(conn):
    statement = await conn.prepare("select $1::int * 2")
    say("prepared", [await statement.fetchval(number) for number in range(10)])
    for number in range(150):
        assert await conn.fetchval(f"select {number} + $1::int", 1) == number + 1
    say("again", await statement.fetchval(21))


async def copies(conn):
    await conn.execute("create table bulk (a int, b text)")
    records = [(number, f"row {number}") for number in range(20000)]
    say("copy in", await conn.copy_records_to_table("bulk", records=records))
    size = 0

    async def count(data):
        nonlocal size
        size += len(data)

    say("copy out", await conn.copy_from_query("select * from bulk where a < $1", 100, output=count))
    say("size", size)


async def large_results(conn):
    rows = await conn.fetch("select g, repeat('x', 100) from generate_series(1, 100000) g")
    say("rows", sum(row[0] for row in rows))
    async with conn.transaction():
        total = 0
        async for row in conn.cursor("select generate_series(1, 1000)", prefetch=100):
            total += row[0]
    say("cursor", total)


async def cancels(conn):
    try:
        await conn.execute("select pg_sleep(30)", timeout=1)
    except asyncio.TimeoutError:
        say("timeout", "cancelled")
    say("alive", await conn.fetchval("select 1"))


async def pools():
    async with asyncpg.create_pool(min_size=5, max_size=20) as pool:

        async def work(number):
            async with pool.acquire() as conn, conn.transaction():
                first = await conn.fetchval("select $1::int", number)
                return first + await conn.fetchval("select $1::int + 1", number)

        say("pool", sum(await asyncio.gather(*(work(number) for number in range(200)))))


async def crowd(conn):
    """Eight clients at once, more than there are servers behind a proxy."""
    await conn.execute("create table crowd (who int, round int, primary key (who, round))")

    async def work(mine, who):
        insert = "insert into crowd values ($1, $2)"
        count = await mine.prepare("select count(*) from crowd where who = $1")
        for number in range(25):
            async with mine.transaction():
                await mine.execute(insert, who, number)
            try:
                await mine.execute(insert, who, number)
            except asyncpg.UniqueViolationError:
                pass
            assert await count.fetchval(who) == number + 1

    clients = await asyncio.gather(*(asyncpg.connect(timeout=20) for _ in range(8)))
    await asyncio.gather(*(work(mine, who) for who, mine in enumerate(clients)))
    await asyncio.gather(*(mine.close() for mine in clients))
    say("crowd", tuple(await conn.fetchrow("select count(*), count(distinct who) from crowd")))


async def main():
    conn = await asyncpg.connect(timeout=20)
    for part in (transactions, errors, prepared, copies, large_results, cancels, crowd):
        print(f"# {part.__name__}")
        await part(conn)
    await conn.close()
    print("# pools")
    await pools()
    conn = await asyncpg.connect(timeout=20, statement_cache_size=0)
    say("without cache", [await conn.fetchval("select $1::int", number) for number in range(5)])
    await conn.close()


asyncio.run(main())
