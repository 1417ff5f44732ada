// A session of npm's graphql-ws. Arguments: the websocket's URL, the operator's token, a product of 100 units, and the
// id of no product.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { CREATE, HELLO, INVALID, SYNTAX_ERROR, buy, outcome, perform, run, saw, watch } from './session.mjs';

const [url, token, productId, unknownId] = process.argv.slice(2);

/** A client with the defaults of its package, and a record of the sockets that it opened and closed. */
function connect(options = {}) {
  const sockets = { opened: [], closed: [] };
  const client = createClient({ url, webSocketImpl: WebSocket, ...options });
  client.on('opened', (socket) => sockets.opened.push(socket));
  client.on('closed', (event) => sockets.closed.push(event.code));
  return { client, sockets };
}

/** The arguments of a client's next event of that name, for which `accept` is true. */
function event(client, name, accept = () => true) {
  return new Promise((resolve) => {
    const forget = client.on(name, (...values) => {
      if (!accept(...values)) return;
      forget();
      resolve(values);
    });
  });
}

{
  let operations = 0;
  const { client, sockets } = connect({ generateID: () => `"${(operations += 1)}"\\ é\u2028\n` });
  const ids = [];
  client.on('message', ({ id }) => ids.push(id));
  saw('sockets before the first operation', sockets.opened.length);

  const first = run(client, watch(productId));
  saw('the current stock', await first.take());
  saw('a query', await outcome(client, HELLO));
  saw('a mutation', await outcome(client, buy(productId)));
  saw('a change', await first.take());
  saw('a syntax error', await outcome(client, SYNTAX_ERROR));
  saw('an invalid operation', await outcome(client, INVALID));
  saw('an unknown product', await outcome(client, watch(unknownId)));
  saw('a mutation for operators only', await outcome(client, CREATE));

  const second = run(client, watch(productId));
  saw('the current stock, to a second subscription', await second.take());
  await outcome(client, buy(productId));
  saw('a change, to two subscriptions', [await first.take(), await second.take()]);

  const stopped = `"${operations - 1}"\\ é\u2028\n`;
  const before = ids.filter((id) => id === stopped).length;
  second.stop();
  saw('a subscription that its caller stops', await second.take());
  await outcome(client, buy(productId));
  saw('a change, to the other subscription', await first.take());
  await outcome(client, HELLO);
  saw('events of the stopped subscription', second.untaken);
  saw('messages to the stopped subscription', ids.filter((id) => id === stopped).length - before);

  const pong = event(client, 'pong');
  sockets.opened[0].send(JSON.stringify({ type: 'ping', payload: { at: 12.5, é: ['\0'] } }));
  saw('a ping with a payload', (await pong)[1]);
  saw('sockets until now', [sockets.opened.length, sockets.closed]);

  const closed = event(client, 'closed');
  first.stop();
  await closed;
  saw('a lazy socket without operations', sockets.closed);
}

{
  const { client } = connect({ connectionParams: async () => ({ authorization: `Bearer ${token}` }) });
  saw('a mutation of the operator', await outcome(client, CREATE));
}

{
  const { client, sockets } = connect({ lazy: false, keepAlive: 10 });
  await event(client, 'connected');
  const pongs = [await event(client, 'pong', (received) => received), await event(client, 'pong', (received) => received)];
  saw('pings that keep a socket alive', pongs.length);
  await outcome(client, HELLO);
  await outcome(client, HELLO);
  saw('an eager socket without operations', [sockets.opened.length, sockets.closed]);
  const closed = event(client, 'closed');
  await client.dispose();
  await closed;
  saw('a client that is disposed', sockets.closed);
}

{
  const { client, sockets } = connect({ retryWait: async () => {} });
  const watching = run(client, watch(productId));
  await watching.take();
  client.terminate();
  saw('the current stock, after the client has terminated its socket', await watching.take());
  saw('a socket that its client terminates', [sockets.opened.length, sockets.closed]);
  watching.stop();
}

{
  let restarted;
  const { client, sockets } = connect({ retryWait: () => restarted });
  const first = run(client, watch(productId));
  const second = run(client, watch(productId));
  await Promise.all([first.take(), second.take()]);
  restarted = perform('restart');
  saw('the current stock, after the server has restarted', [await first.take(), await second.take()]);
  saw('a server that restarts', [sockets.opened.length, sockets.closed]);
  await outcome(client, buy(productId));
  saw('a change, after the server has restarted', [await first.take(), await second.take()]);
  await client.dispose();
}
