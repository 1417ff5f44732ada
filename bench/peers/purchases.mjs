// What the peers that sell share: the part of the schema that a purchase needs. The JIT knows no default values inside
// of input types, so the quantity's is given by hand.

import { serve } from "./server.mjs";

export const schema = `
  type Mutation { purchase(input: PurchaseInput!): PurchaseResult! }
  input PurchaseInput { productId: ID!, userRef: String!, quantity: Int, idempotencyKey: String }
  interface PurchaseResult { status: String!, attempts: Int! }
  type PurchaseConfirmed implements PurchaseResult { status: String!, attempts: Int!, order: Order!, remaining: Int! }
  type PurchaseSoldOut implements PurchaseResult { status: String!, attempts: Int!, remaining: Int! }
  type PurchaseBusy implements PurchaseResult { status: String!, attempts: Int! }
  type Order { id: ID! }
`;

const types = { CONFIRMED: "PurchaseConfirmed", SOLD_OUT: "PurchaseSoldOut", BUSY: "PurchaseBusy" };

/** The resolvers of `schema`; `purchase` takes the mutation's input and returns a PurchaseResult. */
export const resolvers = (purchase) => ({
  Mutation: { purchase: (_, { input }) => purchase({ ...input, quantity: input.quantity ?? 1 }) },
  PurchaseResult: { resolveType: ({ status }) => types[status] },
});

/** Serve purchases and nothing else until SIGTERM. */
export const servePurchases = (purchase) =>
  serve(`type Query { ok: Boolean! } ${schema}`, { Query: { ok: () => true }, ...resolvers(purchase) });
