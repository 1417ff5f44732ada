// The operations of the program for Relay, for its compiler.
import { graphql } from 'react-relay';

graphql`
  mutation shopGuestMutation {
    guest { token }
  }
`;

graphql`
  query shopQuery($drop: String!, $filter: ProductFilter, $sort: ProductSort, $first: Int!) {
    ...shop_list @arguments(drop: $drop, filter: $filter, sort: $sort, first: $first)
  }
`;

graphql`
  fragment shop_list on Query
  @argumentDefinitions(
    drop: { type: "String!" }
    filter: { type: "ProductFilter" }
    sort: { type: "ProductSort" }
    first: { type: "Int!" }
    after: { type: "String" }
  )
  @refetchable(queryName: "shopListQuery") {
    products(dropName: $drop, filter: $filter, sort: $sort, first: $first, after: $after)
      @connection(key: "shop_products", filters: ["dropName", "filter", "sort"]) {
      edges { node { id ...shop_card } }
    }
  }
`;

graphql`
  fragment shop_card on Product @refetchable(queryName: "shopCardQuery") {
    id name stock version soldOut
  }
`;

graphql`
  query shopNodesQuery($ids: [ID!]!) {
    nodes(ids: $ids) { id ... on Product { stock version soldOut } }
  }
`;

graphql`
  mutation shopBuyMutation($input: PurchaseInput!) {
    purchase(input: $input) {
      status
      message
      product { id stock version soldOut }
      ... on PurchaseConfirmed { order { ...shop_bought @relay(mask: false) } remaining replayed }
      ... on PurchaseHeld { order { ...shop_bought @relay(mask: false) } remaining replayed heldUntil }
      ... on PurchaseCancelled { order { ...shop_bought @relay(mask: false) } }
      ... on PurchaseLimitReached { limit held }
      ... on PurchaseNotOpen { opensAt }
      ... on PurchaseClosed { closedAt }
      ... on PurchaseBusy { retryAfterMs }
    }
  }
`;

graphql`
  fragment shop_bought on Order {
    id reference status quantity
  }
`;

graphql`
  query shopBoughtQuery($productId: ID!, $key: String!) {
    purchaseByKey(productId: $productId, idempotencyKey: $key) {
      status
      ... on PurchaseConfirmed { order { id } replayed }
    }
  }
`;

graphql`
  mutation shopCancelMutation($input: CancelOrderInput!) {
    cancelOrder(input: $input) { id status }
  }
`;

graphql`
  mutation shopCreateMutation {
    createProduct(input: { name: "Cap", dropName: "Second Light", stock: 3 }) { id }
  }
`;

graphql`
  subscription shopStockSubscription($ids: [ID!]!) {
    stockChanged(productIds: $ids) { product { id stock version soldOut } }
  }
`;
