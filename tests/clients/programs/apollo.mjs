// A shop on Apollo Client 4. No code of it updates the cache: a product that comes from anywhere is stored by its id.
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { SetContextLink } from '@apollo/client/link/context';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import { createClient } from 'graphql-ws';
import * as operations from './operations.mjs';
import { possibleTypes } from './possible_types.mjs';
import { session } from './session.mjs';
import { Shown, perform, requests, saw, shop, socketUrl } from './shop.mjs';

/** A client of the server at this address, for the buyer whose token it is. */
function open(url, token) {
  const authorization = `Bearer ${token}`;
  const cache = new InMemoryCache({
    possibleTypes,
    typePolicies: {
      Query: { fields: { products: relayStylePagination(['dropName', 'archived', 'filter', 'sort']) } },
    },
  });
  const link = ApolloLink.split(
    ({ operationType }) => operationType === 'subscription',
    new GraphQLWsLink(createClient({ url: socketUrl, connectionParams: { authorization } })),
    ApolloLink.from([
      new SetContextLink(({ headers }) => ({ headers: token ? { ...headers, authorization } : headers })),
      new PersistedQueryLink({
        sha256: (text) => createHash('sha256').update(text).digest('hex'),
        useGETForHashedQueries: true,
      }),
      new HttpLink({ uri: url }),
    ]),
  );
  return new ApolloClient({ cache, link });
}

const FIRST_PAGE = { drop: shop.drop, first: shop.pageSize };

/** The list of the drop. `shown` has its products from now on. */
function watchList(client, shown) {
  const query = client.watchQuery({ query: gql(operations.LIST), variables: FIRST_PAGE });
  query.subscribe(({ data }) => shown.show(data?.products.edges.map(({ node }) => node) ?? []));
  return query;
}

/** What an operator changes is stored like everything else. Only for a new product, the list is read again. */
async function catalogue(client) {
  const shown = new Shown();
  const query = watchList(client, shown);
  client.subscribe({ query: gql(operations.CHANGED) }).subscribe(({ data }) => {
    const { id } = data.productsChanged;
    if (!query.getCurrentResult().data.products.edges.some(({ node }) => node.id === id)) query.refetch();
  });
  await perform('a follower is there');
  await perform('change the catalogue');
  const named = (name) => (products) => products.some((product) => product.name === name);
  await shown.until((products) => named('renamed')(products) && named('new')(products));
  saw('the list after changes', shown.value.map(({ name }) => name));
}

/** What the session needs of a client. */
function adapted(client, token) {
  const mutate = async (document, variables) => (await client.mutate({ mutation: gql(document), variables })).data;
  const read = async (document, variables) =>
    (await client.query({ query: gql(document), variables, fetchPolicy: 'network-only' })).data;
  return {
    list() {
      const shown = new Shown();
      const query = watchList(client, shown);
      const more = () => {
        const { endCursor } = query.getCurrentResult().data.products.pageInfo;
        return query.fetchMore({ variables: { after: endCursor } });
      };
      return { shown, more };
    },
    listOf: async (more) =>
      (await read(operations.LIST, { ...FIRST_PAGE, ...more })).products.edges.map(({ node }) => node.id),
    buy: async (input) => (await mutate(operations.BUY, { input })).purchase,
    boughtBy: async (productId, key) => (await read(operations.BOUGHT, { productId, key })).purchaseByKey,
    cancel: async (input) => (await mutate(operations.CANCEL, { input })).cancelOrder,
    node: async (id) => (await read(operations.NODE, { id })).node,
    nodes: async (ids) => (await read(operations.NODES, { ids })).nodes,
    create: () => mutate(operations.CREATE),
    errors: (thrown) => (CombinedGraphQLErrors.is(thrown) ? thrown.errors : []),
    watch(ids) {
      const watching = client.subscribe({ query: gql(operations.STOCK), variables: { ids } }).subscribe();
      return () => watching.unsubscribe();
    },
    busy: () => adapted(open(shop.busyUrl, token), token),
  };
}

const { data } = await open(shop.url).mutate({ mutation: gql(operations.GUEST) });
requests.length = 0;
const { token } = data.guest;
const client = open(shop.url, token);
await session(adapted(client, token));
saw('requests', requests.slice(0, 3));
await catalogue(client);
process.exit();
