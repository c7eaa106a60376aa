"""asyncpg and its pool. See README.md for what each phase does."""

import asyncio
import json
import sys

import asyncpg

CLIENTS, ROUNDS = 8, 25


async def connect():
    conn = await asyncpg.connect(timeout=20)
    # Has it ask for the types of the catalogue.
    await conn.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return conn


async def startup(who, conn):
    assert await conn.fetchval("select $1::int", who) == who


async def plain(who, conn):
    insert = "insert into visit values ($1, $2, $3, $4, $5)"
    count = await conn.prepare("select count(*) from visit where who = $1")
    for number in range(ROUNDS):
        row = (who, number, "happy", ["a", "b c"], {"round": number})
        async with conn.transaction():
            await conn.execute(insert, *row)
            assert await count.fetchval(who) == number + 1
        try:
            await conn.execute(insert, *row)
            raise AssertionError("a duplicate was taken")
        except asyncpg.UniqueViolationError:
            pass
        select = "select mood, tags, facts from visit where who = $1 and round = $2"
        seen = tuple(await conn.fetchrow(select, who, number))
        assert seen == ("happy", ["a", "b c"], {"round": number}), seen
        moods = await conn.fetchval("select array_agg(mood) from visit where who = $1", who)
        assert moods == ["happy"] * (number + 1), moods
    records = [(who, number, "word") for number in range(100)]
    await conn.copy_records_to_table("bulk", records=records)
    lines = []

    async def keep(data):
        lines.append(data)

    await conn.copy_from_query("select * from bulk where who = $1", who, output=keep)
    assert b"".join(lines).count(b"\n") == 100
    try:
        await conn.execute("select pg_sleep(30)", timeout=0.3)
        raise AssertionError("not cancelled")
    except asyncio.TimeoutError:
        pass
    await startup(who, conn)


async def reset(who, pool):
    """Its pool resets each connection that comes back."""
    for number in range(ROUNDS):
        async with pool.acquire() as conn:
            assert await conn.fetchval("show statement_timeout") == "0"
            await conn.execute("set statement_timeout = '20s'")
            for turn in range(3):
                assert await conn.fetchval("select $1::int * 2", number) == number * 2


async def main(phase):
    if phase == "version":
        return print(asyncpg.__version__)
    if phase == "reset":
        pool = await asyncpg.create_pool(min_size=CLIENTS, max_size=CLIENTS)
        await asyncio.gather(*(reset(who, pool) for who in range(CLIENTS)))
    else:
        connections = await asyncio.gather(*(connect() for _ in range(CLIENTS)))
        work = {"startup": startup, "plain": plain}[phase]
        await asyncio.gather(*(work(who, conn) for who, conn in enumerate(connections)))
    print("idle", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main(sys.argv[1]))
