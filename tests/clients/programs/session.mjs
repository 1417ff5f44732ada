// What a shop needs of its client, in one session. The programs of all clients run it, and see the same.
import { randomUUID } from 'node:crypto';
import { perform, saw, shop } from './shop.mjs';

/** The stock of a product in the list, once a condition is true for it. */
async function listed(list, productId, condition = () => true) {
  const product = ({ id }) => id === productId;
  const products = await list.until((cards) => cards.some((card) => product(card) && condition(card)));
  return products.find(product).stock;
}

/** What a buyer is shown of an outcome. */
function told({ status, product, order }) {
  return [status, product?.stock, ...(order ? [order.status] : [])];
}

/**
 * Run the session. A client has `list()`, which shows the first page of the drop and returns what is shown and `more`;
 * `listOf`, which returns the ids on the first page of another list; the operations `buy`, `boughtBy`, `cancel`, `node`, `nodes` and `create`, which return the value of their field or
 * throw; `errors`, which returns the GraphQL errors of what was thrown; `watch`, which subscribes to live stock; and
 * `busy`, a client like it of a server that cannot sell.
 */
export async function session(client) {
  const list = await pages(client);
  await purchases(client, list);
  await outcomes(client, list);
  await liveStock(client, list);
  await nodes(client, list);
  await errors(client);
  saw('the list at last', list.value.map(({ name }) => name));
}

async function pages(client) {
  const { shown, more } = client.list();
  const first = await shown.until((cards) => cards.length > 0);
  saw('the first page', first.map(({ name }) => name));
  more();
  const both = await shown.until((cards) => cards.length > first.length);
  saw('both pages', both.map(({ name }) => name));
  const nameOf = (id) => Object.keys(shop.products).find((name) => shop.products[name] === id);
  saw('another list', (await client.listOf({ filter: { availability: 'ON_SALE' }, sort: 'OLDEST' })).map(nameOf));
  return shown;
}

async function purchases(client, list) {
  const { open } = shop.products;
  const input = { productId: open, quantity: 2, idempotencyKey: randomUUID() };
  saw('purchaseByKey before the purchase', await client.boughtBy(open, input.idempotencyKey));

  await perform('sell open');
  const bought = await client.buy(input);
  saw('a purchase', [...told(bought), bought.remaining, bought.replayed]);
  saw('the list after the purchase', await listed(list, open, ({ stock }) => stock < 100));

  const again = await client.buy(input);
  saw('the same key again', [...told(again), again.replayed, again.order.id === bought.order.id]);
  const found = await client.boughtBy(open, input.idempotencyKey);
  saw('purchaseByKey', [found.status, found.replayed, found.order.id === bought.order.id]);

  saw('the order is cancelled', (await client.cancel({ orderId: bought.order.id })).status);
  saw('the same key after that', told(await client.buy(input)));
  saw('the list after that', await listed(list, open, ({ stock }) => stock === 99));
}

async function outcomes(client, list) {
  const { held, last, later, paused, closed, limited, busy } = shop.products;
  const buy = (productId, quantity = 1) => client.buy({ productId, quantity, idempotencyKey: randomUUID() });

  const hold = await buy(held);
  saw('a hold', [...told(hold), Date.parse(hold.heldUntil) > Date.now()]);
  await perform('sell last');
  saw('sold out', told(await buy(last)));
  saw('the list when it is sold out', await listed(list, last, ({ soldOut }) => soldOut));
  const early = await buy(later);
  saw('before the opening', [...told(early), new Date(early.opensAt).toISOString()]);
  saw('paused', told(await buy(paused)));
  const late = await buy(closed);
  saw('after the end', [...told(late), new Date(late.closedAt).toISOString()]);
  const tooMany = await buy(limited, 2);
  saw('over the limit', [...told(tooMany), tooMany.limit, tooMany.held]);
  const busyAnswer = await client.busy().buy({ productId: busy, quantity: 1, idempotencyKey: randomUUID() });
  saw('busy', [busyAnswer.status, busyAnswer.retryAfterMs > 0]);
}

async function liveStock(client, list) {
  const { open } = shop.products;
  const stop = client.watch([open]);
  await perform('a watcher is there');
  await perform('sell open');
  saw('live stock in the list', await listed(list, open, ({ stock }) => stock === 98));
  stop();
  await perform('no watcher is there');
}

async function nodes(client, list) {
  const { open, last } = shop.products;
  await perform('sell open');
  saw('node', (await client.node(open)).stock);
  saw('the list after node', await listed(list, open, ({ stock }) => stock === 97));
  await perform('sell open');
  const found = await client.nodes([last, shop.unknown, open]);
  saw('nodes', found.map((node) => node && node.stock));
  saw('the list after nodes', await listed(list, open, ({ stock }) => stock === 96));
}

async function errors(client) {
  const { open } = shop.products;
  const failure = async (operation) => {
    const thrown = await operation.then((value) => { throw new Error(`no error: ${JSON.stringify(value)}`) }, (e) => e);
    return client.errors(thrown).map(({ path, extensions: { code, field } }) => [code, path, field].filter(Boolean));
  };
  saw('no such product', await failure(client.buy({ productId: shop.unknown, quantity: 1 })));
  saw('no quantity', await failure(client.buy({ productId: open, quantity: 0 })));
  saw('for operators only', await failure(client.create()));
}
