"""A day at the bank, from python3-psycopg: python3 examples/bank/bank.py

Connects by the PG* environment variables, to a database that has evstore and no schema "bank" yet.
"""
import pathlib
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

REFUSALS = ("OVERD", "NOACC", "TAKEN", "NOSUM", "NOTZE")


def connect():
    return psycopg.connect(autocommit=True, row_factory=namedtuple_row, options="-c search_path=bank")


def execute(connection, stream, command, args, command_id=None):
    """One command: what evstore.execute returns, or None if it is refused."""
    try:
        return connection.execute(
            "SELECT state, version, position FROM evstore.execute(%s, %s, %s, command_id => %s)",
            (stream, command, Jsonb(args), command_id)).fetchone()
    except psycopg.Error as error:
        if error.sqlstate not in REFUSALS:
            raise
        return None


def transfer(connection, from_account, to_account):
    """Ten from one account to the other: the token, or None if it is refused."""
    try:
        return connection.execute("SELECT transfer(%s, %s, 10, %s)", (from_account, to_account, uuid.uuid4())).fetchone()[0]
    except psycopg.Error as error:
        if error.sqlstate != "OVERD":
            raise
        return None


connections = [connect() for _ in range(8)]
connection = connections[0]
connection.execute(pathlib.Path(__file__).with_name("schema.sql").read_text())

execute(connection, "account-ann", "open", {"owner": "Ann", "overdraft": 50})
execute(connection, "account-bob", "open", {"owner": "Bob"})
salary = execute(connection, "account-ann", "deposit", {"amount": 100})
print(f"ann has {salary.state['balance']:g} at version {salary.version}")

with ThreadPoolExecutor(len(connections)) as pool:
    # Eight sessions take 30 each at the same time. There is enough for five.
    taken = list(pool.map(lambda each: execute(each, "account-ann", "withdraw", {"amount": 30}), connections))
    print(f"made: {sum(t is not None for t in taken)}, refused: {taken.count(None)}")

    # Sent twice, made once.
    command_id = uuid.UUID("7d0f5c0e-2f51-4a5c-9a30-5b8f2f8c1d11")
    first = execute(connection, "account-ann", "deposit", {"amount": 200}, command_id)
    again = execute(connections[1], "account-ann", "deposit", {"amount": 200}, command_id)
    print(f"both answers are {'the same' if first == again else 'different'}")

    # Transfers in both directions at once: neither waits for the other for ever.
    pairs = [("account-ann", "account-bob"), ("account-bob", "account-ann")]
    transfers = list(pool.map(lambda n: transfer(connections[n], *pairs[n % 2]), range(8)))
    print(f"transfers from ann: {sum(token is not None for token in transfers[::2])}")

# Read your own writes: wait for the last token, then read.
token = max(token for token in transfers if token)
if not connection.execute("SELECT evstore.wait_for(%s, %s)", ("account_balance", token)).fetchone()[0]:
    raise SystemExit("account_balance has not followed in time")
total, kept = connection.execute("SELECT sum(balance), bool_and(balance >= -50) FROM account_balance").fetchone()
print(f"all accounts together: {total}, rule {'kept' if kept else 'broken'}")

# The past.
past, = connection.execute("SELECT state FROM evstore.load(%s, as_of_version => 2)", ("account-ann",)).fetchone()
print(f"ann had {past['balance']:g} at version 2")
for each in connections:
    each.close()
