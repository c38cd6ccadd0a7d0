// A day at the bank, from node-postgres: npm install pg; node examples/bank/bank.js
// Connects by the PG* environment variables, to a database that has evstore and no schema "bank" yet.
'use strict';
const fs = require('fs');
const path = require('path');
const { Client } = require('pg');

const connect = async () => {
  const client = new Client();
  await client.connect();
  await client.query('SET search_path = bank');
  return client;
};

// One command: what evstore.execute returns, or, if it is refused, the SQLSTATE in its place.
const execute = async (client, stream, command, args, id) => {
  try {
    const { rows } = await client.query(
      'SELECT state, version, position FROM evstore.execute($1, $2, $3, command_id => $4)', [stream, command, args, id]);
    return rows[0];
  } catch (error) {
    if (!['OVERD', 'NOACC', 'TAKEN', 'NOSUM', 'NOTZE'].includes(error.code)) throw error;
    return { refused: error.code };
  }
};

(async () => {
  const clients = await Promise.all(Array.from({ length: 8 }, connect));
  const [client] = clients;
  await client.query(fs.readFileSync(path.join(__dirname, 'schema.sql'), 'utf8'));

  await execute(client, 'account-ann', 'open', { owner: 'Ann', overdraft: 50 });
  await execute(client, 'account-bob', 'open', { owner: 'Bob' });
  const salary = await execute(client, 'account-ann', 'deposit', { amount: 100 });
  console.log(`ann has ${salary.state.balance} at version ${salary.version}`);

  // Eight sessions take 30 each at the same time. There is enough for five.
  const taken = await Promise.all(clients.map((each) => execute(each, 'account-ann', 'withdraw', { amount: 30 })));
  console.log(`made: ${taken.filter((t) => t.state).length}, refused: ${taken.filter((t) => t.refused === 'OVERD').length}`);

  // Sent twice, made once.
  const id = '7d0f5c0e-2f51-4a5c-9a30-5b8f2f8c1d11';
  const first = await execute(client, 'account-ann', 'deposit', { amount: 200 }, id);
  const again = await execute(clients[1], 'account-ann', 'deposit', { amount: 200 }, id);
  console.log(`both answers are ${first.version === again.version && first.position === again.position ? 'the same' : 'different'}`);

  // Transfers in both directions at once: neither waits for the other for ever.
  const transfers = await Promise.all(clients.map((each, n) => each.query(
    'SELECT transfer($1, $2, 10, gen_random_uuid()) AS token',
    n % 2 ? ['account-bob', 'account-ann'] : ['account-ann', 'account-bob']).then(
    ({ rows }) => rows[0].token, (error) => (error.code === 'OVERD' ? null : Promise.reject(error)))));
  console.log(`transfers from ann: ${transfers.filter((token, n) => token && n % 2 === 0).length}`);

  // Read your own writes: wait for the last token, then read.
  const token = transfers.filter(Boolean).reduce((a, b) => (BigInt(a) > BigInt(b) ? a : b));
  const followed = await client.query('SELECT evstore.wait_for($1, $2) AS ok', ['account_balance', token]);
  if (!followed.rows[0].ok) throw new Error('account_balance has not followed in time');
  const total = await client.query('SELECT sum(balance) AS sum, bool_and(balance >= -50) AS kept FROM account_balance');
  console.log(`all accounts together: ${total.rows[0].sum}, rule ${total.rows[0].kept ? 'kept' : 'broken'}`);

  // The past.
  const past = await client.query('SELECT state FROM evstore.load($1, as_of_version => 2)', ['account-ann']);
  console.log(`ann had ${past.rows[0].state.balance} at version 2`);
  await Promise.all(clients.map((each) => each.end()));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
