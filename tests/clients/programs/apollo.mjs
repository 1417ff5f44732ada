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
import { Shown, requests, saw, shop, socketUrl } from './shop.mjs';

/** A client of the server at this address, for the buyer whose token it is. */
function open(url, token) {
  const authorization = `Bearer ${token}`;
  const cache = new InMemoryCache({
    possibleTypes,
    typePolicies: { Query: { fields: { products: relayStylePagination(['dropName']) } } },
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

/** What the session needs of a client. */
function adapted(client, token) {
  const mutate = async (document, variables) => (await client.mutate({ mutation: gql(document), variables })).data;
  const read = async (document, variables) =>
    (await client.query({ query: gql(document), variables, fetchPolicy: 'network-only' })).data;
  return {
    list() {
      const shown = new Shown();
      const variables = { drop: shop.drop, first: shop.pageSize };
      const query = client.watchQuery({ query: gql(operations.LIST), variables });
      query.subscribe(({ data }) => shown.show(data?.products.edges.map(({ node }) => node) ?? []));
      const more = () => {
        const { endCursor } = query.getCurrentResult().data.products.pageInfo;
        return query.fetchMore({ variables: { after: endCursor } });
      };
      return { shown, more };
    },
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
await session(adapted(open(shop.url, token), token));
saw('requests', requests.slice(0, 3));
process.exit();
