// A session of npm's graphql-ws whose tokens expire. Arguments: the websocket's URL, a product of 100 units, and two
// tokens of a buyer. The first expires with the test's action `expire`, and the second when it is performed again.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { buy, outcome, perform, run, saw, watch } from './session.mjs';

const [url, productId, ...tokens] = process.argv.slice(2);
const sockets = { opened: 0, closed: [] };
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: async () => ({ authorization: `Bearer ${tokens[Math.min(sockets.opened, tokens.length) - 1]}` }),
  retryAttempts: Infinity,
  shouldRetry: () => true,
  retryWait: async () => {},
});
client.on('opened', () => (sockets.opened += 1));
client.on('closed', (event) => sockets.closed.push(event.code));

const watching = run(client, watch(productId));
/** Take changes until the stock is `expected`. A new socket can show the stock from before its first purchase. */
async function until(expected) {
  while ((await watching.take())[1].stockChanged.stock !== expected);
  return expected;
}

saw('live stock', await until(100));
saw('a purchase', await outcome(client, buy(productId)));
saw('a change', await until(99));

await perform('expire');
saw('a purchase after the token has expired', await outcome(client, buy(productId)));
saw('live stock, on the next socket', await until(98));
saw('sockets', [sockets.opened, sockets.closed]);

await perform('expire');
saw('a purchase with the same token', await outcome(client, buy(productId)));
saw('live stock, with the same token', await until(98));
saw('sockets with the same token', [sockets.opened, sockets.closed]);
await client.dispose();
