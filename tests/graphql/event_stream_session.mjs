// A session of npm's graphql-sse. Arguments: the URL of GraphQL, the URL of the metrics, the operator's token, a product
// of 100 units, and the id of no product.
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-sse';
import { CREATE, HELLO, INVALID, SYNTAX_ERROR, buy, outcome, perform, run, saw, watch } from './session.mjs';

const [url, metricsUrl, token, productId, unknownId] = process.argv.slice(2);

/** The number of watchers on the server. */
async function watchers() {
  const metrics = await (await fetch(metricsUrl)).text();
  return Number(metrics.match(/^dropzero_watchers (\S+)$/m)[1]);
}

async function untilNobodyWatches() {
  while ((await watchers()) > 0) await sleep(10);
}

{
  const client = createClient({ url });
  const first = run(client, watch(productId));
  saw('the current stock', await first.take());
  saw('a query', await outcome(client, HELLO));
  saw('a mutation', await outcome(client, buy(productId)));
  saw('a change', await first.take());
  saw('a syntax error', await outcome(client, SYNTAX_ERROR));
  saw('an invalid operation', await outcome(client, INVALID));
  saw('a subscription with a syntax error', await outcome(client, { query: 'subscription { stockChanged(' }));
  saw('an invalid subscription', await outcome(client, { query: 'subscription { stockChanged { nonsense } }' }));
  saw('variables that do not fit', await outcome(client, { ...watch(productId), variables: {} }));
  saw('an unknown product', await outcome(client, watch(unknownId)));
  saw('a mutation for operators only', await outcome(client, CREATE));

  const second = run(client, watch(productId));
  saw('the current stock, to a second subscription', await second.take());
  await outcome(client, buy(productId));
  saw('a change, to two subscriptions', [await first.take(), await second.take()]);
  saw('watchers', await watchers());

  second.stop();
  saw('a subscription that its caller stops', await second.take());
  await outcome(client, buy(productId));
  saw('a change, to the other subscription', await first.take());
  saw('events of the stopped subscription', second.untaken);
  client.dispose();
  await untilNobodyWatches();
  saw('watchers, after the client was disposed', await watchers());
}

{
  const client = createClient({ url, headers: async () => ({ authorization: `Bearer ${token}` }) });
  saw('a mutation of the operator', await outcome(client, CREATE));
}

{
  const client = createClient({ url, retryAttempts: 0 });
  saw('a request that is not GraphQL', await outcome(client, { query: 5 }));
}

{
  let restarted;
  let connections = 0;
  const count = () => (connections += 1);
  const client = createClient({ url, singleConnection: true, retry: () => restarted, on: { connected: count } });
  const first = run(client, watch(productId));
  saw('the current stock, on a stream of many operations', await first.take());
  saw('a query on it', await outcome(client, HELLO));
  saw('a mutation on it', await outcome(client, buy(productId)));
  saw('a change on it', await first.take());
  saw('an invalid operation on it', await outcome(client, INVALID));
  saw('an unknown product on it', await outcome(client, watch(unknownId)));
  const second = run(client, watch(productId));
  saw('the current stock, to a second subscription on it', await second.take());
  second.stop();
  saw('a subscription on it that its caller stops', await second.take());
  while ((await watchers()) > 1) await sleep(10);
  await outcome(client, buy(productId));
  saw('a change on it, to the other subscription', await first.take());
  restarted = perform('restart');
  saw('the current stock on it, after the server has restarted', await first.take());
  saw('streams', connections);
  first.stop();
  await untilNobodyWatches();
  client.dispose();
}

{
  let restarted;
  let connections = 0;
  const client = createClient({ url, retry: () => restarted, on: { connected: () => (connections += 1) } });
  const watching = run(client, watch(productId));
  await watching.take();
  restarted = perform('restart');
  saw('the current stock, after the server has restarted', await watching.take());
  saw('connections', connections);
  await outcome(client, buy(productId));
  saw('a change, after the server has restarted', await watching.take());
  watching.stop();
  await untilNobodyWatches();
  saw('watchers, after the last subscription was stopped', await watchers());
}
