// A typed shop without a client library: gql.tada derives each type from the schema and the text of the operation.
import { type ResultOf, type TadaDocumentNode, type VariablesOf, readFragment } from 'gql.tada';
import { print } from 'graphql';
import { graphql } from './graphql.mjs';

declare const process: { argv: string[] };
declare const console: { log(line: string): void };

type Product = 'open' | 'held' | 'last' | 'later' | 'paused' | 'closed' | 'limited';
type Shop = { url: string; drop: string; pageSize: number; products: Record<Product, string> };
const shop: Shop = JSON.parse(process.argv[2]!);
const saw = (check: string, seen: unknown) => console.log(JSON.stringify({ check, saw: seen }));

const Card = graphql(`
  fragment Card on Product { id name stock opensAt price { amount currency } }
`);

const List = graphql(
  `
    query List($drop: String!, $filter: ProductFilter, $last: Int!, $before: String) {
      products(dropName: $drop, filter: $filter, last: $last, before: $before) {
        nodes { ...Card }
        pageInfo { startCursor hasPreviousPage }
        totalCount
      }
    }
  `,
  [Card],
);

const Buy = graphql(`
  mutation Buy($input: PurchaseInput!) {
    purchase(input: $input) {
      __typename
      status
      ... on PurchaseConfirmed { order { id } replayed }
      ... on PurchaseHeld { order { id } heldUntil }
      ... on PurchaseCancelled { order { status } }
      ... on PurchaseSoldOut { remaining }
      ... on PurchaseLimitReached { limit held }
      ... on PurchaseNotOpen { opensAt }
      ... on PurchaseClosed { closedAt }
      ... on PurchaseBusy { retryAfterMs }
    }
  }
`);

const Bought = graphql(`
  query Bought($productId: ID!, $key: String!) {
    purchaseByKey(productId: $productId, userRef: "ada", idempotencyKey: $key) { status }
  }
`);

type Errors = { path?: string[]; extensions: { code: string; field?: string } }[];

async function request<Data, Variables>(document: TadaDocumentNode<Data, Variables>, variables: Variables) {
  const response = await fetch(shop.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: print(document), variables }),
  });
  return (await response.json()) as { data: Data; errors?: Errors };
}

async function buy(input: Omit<VariablesOf<typeof Buy>['input'], 'userRef'>) {
  const { data } = await request(Buy, { input: { ...input, userRef: 'ada' } });
  return told(data.purchase!);
}

/** What a buyer is told. A type of outcome that is missing here fails the compilation. */
function told(outcome: NonNullable<ResultOf<typeof Buy>['purchase']>): unknown[] {
  switch (outcome.__typename) {
    case 'PurchaseConfirmed':
      return [outcome.status, outcome.replayed];
    case 'PurchaseHeld':
      return [outcome.status, Date.parse(outcome.heldUntil) > Date.now()];
    case 'PurchaseCancelled':
      return [outcome.status, outcome.order.status];
    case 'PurchaseSoldOut':
      return [outcome.status, outcome.remaining];
    case 'PurchaseLimitReached':
      return [outcome.status, outcome.limit, outcome.held];
    case 'PurchaseNotOpen':
      return [outcome.status, Date.parse(outcome.opensAt) > Date.now()];
    case 'PurchaseClosed':
      return [outcome.status, Date.parse(outcome.closedAt) < Date.now()];
    case 'PurchasePaused':
      return [outcome.status];
    case 'PurchaseBusy':
      return [outcome.status, outcome.retryAfterMs];
    default:
      return outcome satisfies never;
  }
}

const { products, ...list } = shop;

const names: string[] = [];
let counted: number | null = null;
let page = { startCursor: null as string | null, hasPreviousPage: true };
while (page.hasPreviousPage) {
  const variables = { drop: list.drop, last: list.pageSize, before: page.startCursor };
  const { products: found } = (await request(List, variables)).data;
  names.unshift(...found.nodes.map((product) => readFragment(Card, product).name));
  ({ pageInfo: page, totalCount: counted } = found);
}
saw('the pages', [counted, ...names]);

const idempotencyKey = crypto.randomUUID();
saw('a purchase', await buy({ productId: products.open, idempotencyKey }));
saw('the same key again', await buy({ productId: products.open, idempotencyKey }));
const { data } = await request(Bought, { productId: products.open, key: idempotencyKey });
saw('purchaseByKey', data.purchaseByKey?.status);
for (const product of ['held', 'later', 'paused', 'closed'] as const) {
  saw(product, await buy({ productId: products[product] }));
}
saw('limited', await buy({ productId: products.limited, quantity: 2 }));
saw('last', await buy({ productId: products.last, quantity: 2 }));

const { errors } = await request(Buy, { input: { productId: products.open, userRef: 'ada', quantity: 0 } });
saw('no quantity', errors?.map(({ path, extensions }) => [extensions.code, path, extensions.field]));

// What the types refuse.
// @ts-expect-error: a product has no such field
() => readFragment(Card, null as never).colour;
// @ts-expect-error: a price can be missing
(): string => readFragment(Card, null as never).price.amount;
// @ts-expect-error: a filter has no such value
(): VariablesOf<typeof List> => ({ drop: list.drop, filter: { availability: 'LATE' }, last: 1 });
// @ts-expect-error: a quantity is a number
(): VariablesOf<typeof Buy> => ({ input: { productId: products.open, quantity: '1' } });
// @ts-expect-error: a purchase names its product
(): VariablesOf<typeof Buy> => ({ input: { quantity: 1 } });
