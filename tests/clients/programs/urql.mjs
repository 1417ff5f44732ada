// A shop on urql with graphcache. No code of it updates the cache: a product that comes from anywhere is stored by its id.
import { readFileSync } from 'node:fs';
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';
import { persistedExchange } from '@urql/exchange-persisted';
import { minifyIntrospectionQuery } from '@urql/introspection';
import { buildSchema, introspectionFromSchema } from 'graphql';
import { createClient } from 'graphql-ws';
import * as operations from './operations.mjs';
import { session } from './session.mjs';
import { Shown, requests, saw, shop, socketUrl } from './shop.mjs';

const warnings = [];

const schema = minifyIntrospectionQuery(introspectionFromSchema(buildSchema(readFileSync('schema.graphql', 'utf8'))));

// What has no id of its own is stored where it came from.
const withoutId = schema.__schema.types.filter(({ fields }) => fields && !fields.some(({ name }) => name === 'id'));
const keys = Object.fromEntries(withoutId.map(({ name }) => [name, () => null]));

/** A client of the server at this address, for the buyer whose token it is. */
function open(url, token) {
  const authorization = `Bearer ${token}`;
  const sockets = createClient({ url: socketUrl, connectionParams: { authorization } });
  return new Client({
    url,
    fetchOptions: () => ({ headers: token ? { authorization } : {} }),
    exchanges: [
      cacheExchange({
        schema,
        resolvers: { Query: { products: relayPagination() } },
        keys,
        logger: (severity, message) => severity === 'debug' || warnings.push(message),
      }),
      persistedExchange(),
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query, variables }) => ({
          subscribe: (sink) => ({ unsubscribe: sockets.subscribe({ query, variables }, sink) }),
        }),
      }),
    ],
  });
}

const FIRST_PAGE = { drop: shop.drop, first: shop.pageSize };

/** The data of a result. Throws its error. */
function dataOf({ data, error }) {
  if (error) throw error;
  return data;
}

/** What the session needs of a client. */
function adapted(client, token) {
  const mutate = async (document, variables) => dataOf(await client.mutation(document, variables).toPromise());
  const read = async (document, variables) =>
    dataOf(await client.query(document, variables, { requestPolicy: 'network-only' }).toPromise());
  return {
    list() {
      const shown = new Shown();
      let { unsubscribe } = { unsubscribe() {} };
      let endCursor;
      const page = (after) => {
        unsubscribe();
        const query = client.query(operations.LIST, { ...FIRST_PAGE, after });
        ({ unsubscribe } = query.subscribe(({ data }) => {
          endCursor = data?.products?.pageInfo.endCursor;
          shown.show(data?.products?.edges.map(({ node }) => node) ?? []);
        }));
      };
      page();
      return { shown, more: () => page(endCursor) };
    },
    listOf: async (more) =>
      (await read(operations.LIST, { ...FIRST_PAGE, ...more })).products.edges.map(({ node }) => node.id),
    buy: async (input) => (await mutate(operations.BUY, { input })).purchase,
    boughtBy: async (productId, key) => (await read(operations.BOUGHT, { productId, key })).purchaseByKey,
    cancel: async (input) => (await mutate(operations.CANCEL, { input })).cancelOrder,
    node: async (id) => (await read(operations.NODE, { id })).node,
    nodes: async (ids) => (await read(operations.NODES, { ids })).nodes,
    create: () => mutate(operations.CREATE),
    errors: (thrown) => thrown.graphQLErrors ?? [],
    watch: (ids) => client.subscription(operations.STOCK, { ids }).subscribe(() => {}).unsubscribe,
    busy: () => adapted(open(shop.busyUrl, token), token),
  };
}

const { token } = (await open(shop.url).mutation(operations.GUEST).toPromise()).data.guest;
requests.length = 0;
await session(adapted(open(shop.url, token), token));
saw('requests', requests.slice(0, 3));
saw('warnings of the cache', warnings);
process.exit();
