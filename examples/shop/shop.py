"""A shop, from python3-psycopg: python3 examples/shop/shop.py

Connects by the PG* environment variables, to a database that has evstore and no schema "shop" yet.
"""
import pathlib

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

connection = psycopg.connect(autocommit=True, row_factory=namedtuple_row)
here = pathlib.Path(__file__).parent


def execute(order, command, command_id=None, **args):
    """One command. The answer has the new state and the token; a rule that refuses is an error with the shop's SQLSTATE."""
    return connection.execute(
        "SELECT * FROM evstore.execute(%s, %s, %s, command_id => %s)", (order, command, Jsonb(args), command_id)).fetchone()


def refused(order, command, **args):
    """Why a command is refused."""
    try:
        execute(order, command, **args)
    except psycopg.Error as error:
        if error.sqlstate == "SHOP1":
            return error.diag.message_primary
        raise
    raise SystemExit("this was not refused")


def show(projection, token, *columns):
    """Print what a read table says, once it has followed up to a token."""
    if not connection.execute("SELECT evstore.wait_for(%s, %s)", (projection, token)).fetchone()[0]:
        raise SystemExit(f"{projection} has not followed in time")
    rows = connection.execute(f"SELECT * FROM {projection} ORDER BY 1").fetchall()
    print(f"{projection}: {', '.join(' '.join(str(getattr(row, column)) for column in columns) for row in rows)}")


for name in ("schema.sql", "history.sql"):
    connection.execute((here / name).read_text())

tea = {"sku": "tea", "quantity": 2, "price": 10.25}
for _ in range(2):
    placed = execute("order-3", "PlaceOrder", "0a6f9c52-8d0d-4f7e-8a58-5f2b1f0c3d01",
                     customer="bob", ship_to={"region": "south"}, lines=[tea])
print(f"order-3 costs {placed.state['total']:g}, sent twice: version {placed.version}")
print(refused("order-3", "ShipOrder", carrier="road"))
execute("order-3", "CapturePayment", amount=20.5)
shipped = execute("order-3", "ShipOrder", carrier="road")
print(refused("order-3", "CancelOrder", reason="too late"))
paid = execute("order-2", "CapturePayment", amount=12.5)

# Read your own writes.
show("order_summary", paid.position, "order_id", "status")
show("fulfillment_queue", paid.position, "order_id")
show("orders_by_region", shipped.position, "region", "placed", "cancelled", "value")
show("customer_dashboard", shipped.position, "customer", "orders")

state, = connection.execute(
    "SELECT state FROM evstore.load(%s, as_of_time => %s)", ("order-1", "2025-06-03T12:00:00Z")).fetchone()
print(f"on Tuesday order-1 was {state['status']}")

show("customer_revenue", paid.position, "customer", "revenue")
connection.execute((here / "rebuild.sql").read_text())
show("customer_revenue", paid.position, "customer", "revenue")
connection.close()
