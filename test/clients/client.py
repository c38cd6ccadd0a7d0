"""evstore from python3-psycopg: what an application does, and what it gets back.

Prints one TAP line for each check. Connects by the PG* environment variables.
"""
import json
import sys

import psycopg
from psycopg.types.json import Jsonb

checks = 0


def ok(condition, name):
    global checks
    checks += 1
    print(f"{'ok' if condition else 'not ok'} {checks} - {name}")


with psycopg.connect(autocommit=True) as connection:
    one = lambda sql, *args: connection.execute(sql, args).fetchone()

    version, position = one("SELECT * FROM evstore.append(%s, %s, %s)", "py-1", "Opened", '{"by": "ann"}')
    ok(version == 1 and position > 0, "append with JSON text")
    version, later = one(
        "SELECT * FROM evstore.append(%s, %s, %s, expected_version => %s)", "py-1", "Noted", Jsonb({"n": [1, None]}), 1)
    ok((version, later > position) == (2, True), "append with a jsonb parameter, under an expected version")

    events = [{"type": "Noted", "data": {"n": n}, "tags": ["a b", 'c"d']} for n in range(3)]
    version, last = one("SELECT * FROM evstore.append(%s, evstore.events(%s), %s)", "py-1", Jsonb(events), 2)
    ok((version, last) == (5, later + 3), "append many, at consecutive positions")

    try:
        one("SELECT * FROM evstore.append(%s, %s, %s, expected_version => 1)", "py-1", "Late", Jsonb({}))
        ok(False, "a stale version is refused")
    except psycopg.Error as error:
        ok(error.sqlstate == "VE001", "a stale version is refused with VE001")

    rows = connection.execute("SELECT version, type, data, tags FROM evstore.read_stream(%s)", ["py-1"]).fetchall()
    ok([row[0] for row in rows] == [1, 2, 3, 4, 5], "read_stream gives every version in order")
    ok(rows[1][2] == {"n": [1, None]} and rows[4][3] == ["a b", 'c"d'], "data and tags come back as they went in")

    with connection.cursor() as cursor:
        with cursor.copy("COPY events (stream, type, data) FROM STDIN") as copy:
            for n in range(100):
                copy.write_row(("py-copy", "Copied", json.dumps({"n": n})))
    ok(one("SELECT evstore.stream_version('py-copy')") == (100,), "COPY appends")

    ok(one("SELECT evstore.wait_for('by_type')") == (True,), "wait_for")
    ok(one("SELECT n FROM by_type WHERE type = 'Copied'") == (100,), "the read table has it")

    connection.execute("SET evstore.read_your_writes = on")
    stale = 0
    for n in range(1, 101):
        one("SELECT evstore.append(%s, %s, %s)", "py-2", "Counted", "{}")
        stale += one("SELECT n FROM by_type WHERE type = %s", "Counted") != (n,)
    ok(stale == 0, "with read_your_writes, no read after an append is stale, prepared or not")
    connection.prepare_threshold = 0
    for n in range(101, 201):
        with connection.transaction():
            one("SELECT evstore.append(%s, %s, %s)", "py-2", "Counted", "{}")
        with connection.transaction(), connection.cursor("c") as cursor:
            stale += cursor.execute("SELECT n FROM by_type WHERE type = %s", ["Counted"]).fetchone() != (n,)
    ok(stale == 0, "nor by a cursor on the server, each in a transaction of its own")

print(f"1..{checks}")
sys.exit(0)
