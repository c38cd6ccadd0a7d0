// The same fold in a client: reads the events of a stream through node-postgres, and adds up their amounts. Prints the
// seconds that one fold takes, from the query to the state. Arguments: stream, folds.
'use strict';
const { Client } = require('pg');

(async () => {
  const [stream, folds] = process.argv.slice(2);
  const client = new Client();
  await client.connect();
  let start;
  for (let n = 0; n <= folds; n++) {
    if (n === 1) start = process.hrtime.bigint();   // the first one is not counted
    const { rows } = await client.query('SELECT version, type, data FROM evstore.read_stream($1)', [stream]);
    let state = { orders: 0, amount: 0 };
    for (const { data } of rows) state = { orders: state.orders + 1, amount: state.amount + data.amount };
    if (state.orders !== rows.length) throw new Error('events were lost');
  }
  console.log(Number(process.hrtime.bigint() - start) / 1e9 / folds);
  await client.end();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
