// A shop on Relay, with React. No code of it updates the store: a product that comes from anywhere is stored by its id.
import { createClient } from 'graphql-ws';
import { Suspense, createElement, useEffect } from 'react';
import { RelayEnvironmentProvider, useLazyLoadQuery, usePaginationFragment, useRefetchableFragment } from 'react-relay';
import { create } from 'react-test-renderer';
import * as runtime from 'relay-runtime';
import BOUGHT from './relay/__generated__/shopBoughtQuery.graphql.js';
import BUY from './relay/__generated__/shopBuyMutation.graphql.js';
import CANCEL from './relay/__generated__/shopCancelMutation.graphql.js';
import CARD from './relay/__generated__/shop_card.graphql.js';
import CREATE from './relay/__generated__/shopCreateMutation.graphql.js';
import GUEST from './relay/__generated__/shopGuestMutation.graphql.js';
import LIST from './relay/__generated__/shop_list.graphql.js';
import NODES from './relay/__generated__/shopNodesQuery.graphql.js';
import QUERY from './relay/__generated__/shopQuery.graphql.js';
import STOCK from './relay/__generated__/shopStockSubscription.graphql.js';
import { session } from './session.mjs';
import { Shown, shop, socketUrl } from './shop.mjs';

/** An environment with the server at this address, for the buyer whose token it is. */
function open(url, token) {
  const authorization = `Bearer ${token}`;
  const sockets = createClient({ url: socketUrl, connectionParams: { authorization } });
  const headers = { 'content-type': 'application/json', ...(token && { authorization }) };
  const network = runtime.Network.create(
    ({ id: documentId }, variables) =>
      fetch(url, { method: 'POST', headers, body: JSON.stringify({ documentId, variables }) }).then((sent) => sent.json()),
    ({ id: documentId }, variables) =>
      runtime.Observable.create((sink) => sockets.subscribe({ documentId, query: '', variables }, sink)),
  );
  return new runtime.Environment({ network, store: new runtime.Store(new runtime.RecordSource()) });
}

const FIRST_PAGE = { drop: shop.drop, first: shop.pageSize };

/** The list of a drop, as a component. `page` has what the session reads of it, and how it goes on. */
function List({ page }) {
  const query = useLazyLoadQuery(QUERY, FIRST_PAGE);
  const { data, loadNext } = usePaginationFragment(LIST, query);
  page.more = () => loadNext(shop.pageSize);
  return data.products.edges.map(({ node }) => createElement(Card, { key: node.id, product: node, page }));
}

function Card({ product, page }) {
  const [card, refetch] = useRefetchableFragment(CARD, product);
  page.refetch.set(card.id, refetch);
  useEffect(page.show);
  return createElement('li', card);
}

/** What the session needs of a client. */
function adapted(environment, token) {
  const page = { refetch: new Map() };
  const mutate = (mutation, variables) =>
    new Promise((resolve, reject) => {
      const onCompleted = (data, errors) => (errors ? reject({ errors }) : resolve(data));
      runtime.commitMutation(environment, { mutation, variables, onCompleted, onError: reject });
    });
  const read = (query, variables) => runtime.fetchQuery(environment, query, variables).toPromise();
  return {
    list() {
      const shown = new Shown();
      page.show = () => shown.show([page.root.toJSON()].flat().map(({ props }) => props));
      const list = createElement(Suspense, {}, createElement(List, { page }));
      page.root = create(createElement(RelayEnvironmentProvider, { environment }, list));
      return { shown, more: () => page.more() };
    },
    async listOf(more) {
      const list = runtime.getSingularSelector(LIST, await read(QUERY, { ...FIRST_PAGE, ...more }));
      return environment.lookup(list).data.products.edges.map(({ node }) => node.id);
    },
    buy: async (input) => (await mutate(BUY, { input })).purchase,
    boughtBy: async (productId, key) => (await read(BOUGHT, { productId, key })).purchaseByKey,
    cancel: async (input) => (await mutate(CANCEL, { input })).cancelOrder,
    node: (id) =>
      new Promise((resolve) => {
        const onComplete = () => resolve(environment.getStore().getSource().get(id));
        page.refetch.get(id)({}, { fetchPolicy: 'network-only', onComplete });
      }),
    nodes: async (ids) => (await read(NODES, { ids })).nodes,
    create: () => mutate(CREATE, {}),
    errors: (thrown) => thrown.errors ?? [],
    watch: (ids) => runtime.requestSubscription(environment, { subscription: STOCK, variables: { ids } }).dispose,
    busy: () => adapted(open(shop.busyUrl, token), token),
    mutate,
  };
}

const { token } = (await adapted(open(shop.url)).mutate(GUEST, {})).guest;
await session(adapted(open(shop.url, token), token));
process.exit();
