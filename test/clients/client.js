// evstore from node-postgres: what an application does, and what it gets back.
// Prints one TAP line for each check. Connects by the PG* environment variables.
'use strict';
const { Client } = require('pg');

let checks = 0;
const ok = (condition, name) => console.log(`${condition ? 'ok' : 'not ok'} ${++checks} - ${name}`);

(async () => {
  const client = new Client();
  await client.connect();
  const one = async (sql, args) => (await client.query(sql, args)).rows[0];

  const first = await one('SELECT * FROM evstore.append($1, $2, $3)', ['js-1', 'Opened', { by: 'ann' }]);
  ok(first.version === '1', 'append with untyped parameters; node sends an object as JSON text');
  const second = await one('SELECT * FROM evstore.append($1, $2, $3, expected_version => $4)',
    ['js-1', 'Noted', { n: [1, null] }, first.version]);
  ok(second.version === '2' && BigInt(second.position) > BigInt(first.position), 'append under an expected version');

  const events = [1, 2, 3].map((n) => ({ type: 'Noted', data: { n }, tags: ['a b', 'c"d'] }));
  const many = await one('SELECT * FROM evstore.append($1, evstore.events($2), $3)', ['js-1', JSON.stringify(events), 2]);
  ok(many.version === '5' && BigInt(many.position) === BigInt(second.position) + 3n, 'append many, at consecutive positions');

  const refused = await client.query('SELECT evstore.append($1, $2, $3, expected_version => 1)', ['js-1', 'Late', {}])
    .then(() => null, (error) => error);
  ok(refused && refused.code === 'VE001', 'a stale version is refused with VE001');

  const { rows } = await client.query('SELECT version, data, tags FROM evstore.read_stream($1)', ['js-1']);
  ok(rows.map((row) => row.version).join() === '1,2,3,4,5', 'read_stream gives every version in order');
  ok(JSON.stringify(rows[1].data) === '{"n":[1,null]}' && rows[4].tags[1] === 'c"d', 'data and tags come back as they went in');

  ok((await one('SELECT evstore.wait_for($1, $2)', ['by_type', many.position])).wait_for === true, 'wait_for a position');
  ok((await one('SELECT n FROM by_type WHERE type = $1', ['Noted'])).n === '4', 'the read table has it');

  await client.query('SET evstore.read_your_writes = on');
  let stale = 0;
  for (let n = 1; n <= 100; n++) {
    await client.query('SELECT evstore.append($1, $2, $3)', ['js-2', 'Counted', {}]);
    const named = { name: n % 2 ? 'by_type' : undefined, text: 'SELECT n FROM by_type WHERE type = $1', values: ['Counted'] };
    stale += (await client.query(named)).rows[0]?.n !== String(n);
  }
  ok(stale === 0, 'with read_your_writes, no read after an append is stale, named or not');

  await client.end();
  console.log(`1..${checks}`);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
