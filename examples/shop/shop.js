// A shop, from node-postgres: npm install pg; node examples/shop/shop.js
// Connects by the PG* environment variables, to a database that has evstore and no schema "shop" yet.
'use strict';
const fs = require('fs');
const path = require('path');
const { Client } = require('pg');

const client = new Client();
const file = (name) => fs.readFileSync(path.join(__dirname, name), 'utf8');
const rows = async (sql, args) => (await client.query(sql, args)).rows;

// One command. The answer has the new state and the token; a rule that refuses is an error with the shop's SQLSTATE.
const execute = async (order, command, args, id) =>
  (await rows('SELECT * FROM evstore.execute($1, $2, $3, command_id => $4)', [order, command, args, id]))[0];
const refused = (promise) => promise.then(
  () => { throw new Error('this was not refused'); },
  (error) => (error.code === 'SHOP1' ? error.message : Promise.reject(error)));

// What a read table says, once it has followed up to a token.
const follow = async (projection, token) => {
  const [{ ok }] = await rows('SELECT evstore.wait_for($1, $2) AS ok', [projection, token]);
  if (!ok) throw new Error(`${projection} has not followed in time`);
  return rows(`SELECT * FROM ${projection} ORDER BY 1`);
};
const show = (name, table, columns) =>
  console.log(`${name}: ${table.map((row) => columns.map((column) => row[column]).join(' ')).join(', ')}`);

(async () => {
  await client.connect();
  await client.query(file('schema.sql'));
  await client.query(file('history.sql'));

  const tea = { sku: 'tea', quantity: 2, price: 10.25 };
  const placed = await execute('order-3', 'PlaceOrder', { customer: 'bob', ship_to: { region: 'south' }, lines: [tea] },
    '0a6f9c52-8d0d-4f7e-8a58-5f2b1f0c3d01');
  const again = await execute('order-3', 'PlaceOrder', { customer: 'bob', ship_to: { region: 'south' }, lines: [tea] },
    '0a6f9c52-8d0d-4f7e-8a58-5f2b1f0c3d01');
  console.log(`order-3 costs ${placed.state.total}, sent twice: version ${again.version}`);
  console.log(await refused(execute('order-3', 'ShipOrder', { carrier: 'road' })));
  await execute('order-3', 'CapturePayment', { amount: 20.5 });
  const shipped = await execute('order-3', 'ShipOrder', { carrier: 'road' });
  console.log(await refused(execute('order-3', 'CancelOrder', { reason: 'too late' })));
  const paid = await execute('order-2', 'CapturePayment', { amount: 12.5 });

  // Read your own writes.
  show('order_summary', await follow('order_summary', paid.position), ['order_id', 'status']);
  show('fulfillment_queue', await follow('fulfillment_queue', paid.position), ['order_id']);
  show('orders_by_region', await follow('orders_by_region', shipped.position), ['region', 'placed', 'cancelled', 'value']);
  show('customer_dashboard', await follow('customer_dashboard', shipped.position), ['customer', 'orders']);

  const [{ state }] = await rows('SELECT state FROM evstore.load($1, as_of_time => $2)', ['order-1', '2025-06-03T12:00:00Z']);
  console.log(`on Tuesday order-1 was ${state.status}`);

  show('customer_revenue', await follow('customer_revenue', paid.position), ['customer', 'revenue']);
  await client.query(file('rebuild.sql'));
  show('customer_revenue', await follow('customer_revenue', paid.position), ['customer', 'revenue']);
  await client.end();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
