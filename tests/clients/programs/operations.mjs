// The operations of the programs for Apollo Client and for urql.

export const GUEST = 'mutation Guest { guest { token } }';

const CARD = 'fragment Card on Product { id name stock version soldOut }';

export const LIST = `
  query List($drop: String!, $filter: ProductFilter, $sort: ProductSort, $first: Int!, $after: String) {
    products(dropName: $drop, filter: $filter, sort: $sort, first: $first, after: $after) {
      edges { cursor node { ...Card } }
      pageInfo { endCursor hasNextPage }
    }
  }
  ${CARD}
`;

export const BUY = `
  mutation Buy($input: PurchaseInput!) {
    purchase(input: $input) { ...Outcome }
  }
  fragment Outcome on PurchaseResult {
    status
    message
    product { id stock version soldOut }
    ... on PurchaseConfirmed { order { ...Bought } remaining replayed }
    ... on PurchaseHeld { order { ...Bought } remaining replayed heldUntil }
    ... on PurchaseCancelled { order { ...Bought } }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseClosed { closedAt }
    ... on PurchaseBusy { retryAfterMs }
  }
  fragment Bought on Order { id reference status quantity }
`;

export const BOUGHT = `
  query Bought($productId: ID!, $key: String!) {
    purchaseByKey(productId: $productId, idempotencyKey: $key) {
      status
      ... on PurchaseConfirmed { order { id } replayed }
    }
  }
`;

export const CANCEL = 'mutation Cancel($input: CancelOrderInput!) { cancelOrder(input: $input) { id status } }';

export const STOCK = `
  subscription Stock($ids: [ID!]!) {
    stockChanged(productIds: $ids) { product { id stock version soldOut } }
  }
`;

export const CHANGED = 'subscription Changed { productsChanged { id name stock version soldOut } }';

export const NODE = `query Refetch($id: ID!) { node(id: $id) { id ...Card } } ${CARD}`;
export const NODES = `query RefetchAll($ids: [ID!]!) { nodes(ids: $ids) { id ...Card } } ${CARD}`;

export const CREATE = `
  mutation Create { createProduct(input: { name: "Cap", dropName: "Second Light", stock: 3 }) { id } }
`;
