// What both peers share: Fastify and Mercurius with JIT, and the part of the schema that a purchase needs. The
// JIT knows no default values inside of input types, so the quantity's is given by hand.

import Fastify from "fastify";
import mercurius from "mercurius";

const schema = `
  type Query { ok: Boolean! }
  type Mutation { purchase(input: PurchaseInput!): PurchaseResult! }
  input PurchaseInput { productId: ID!, userRef: String!, quantity: Int, idempotencyKey: String }
  interface PurchaseResult { status: String!, attempts: Int! }
  type PurchaseConfirmed implements PurchaseResult { status: String!, attempts: Int!, order: Order!, remaining: Int! }
  type PurchaseSoldOut implements PurchaseResult { status: String!, attempts: Int!, remaining: Int! }
  type PurchaseBusy implements PurchaseResult { status: String!, attempts: Int! }
  type Order { id: ID! }
`;

const types = { CONFIRMED: "PurchaseConfirmed", SOLD_OUT: "PurchaseSoldOut", BUSY: "PurchaseBusy" };

/** Serve until SIGTERM; `purchase` takes the mutation's input and returns a PurchaseResult. */
export async function serve(purchase) {
  const app = Fastify();
  app.register(mercurius, {
    jit: 1,
    schema,
    resolvers: {
      Query: { ok: () => true },
      Mutation: { purchase: (_, { input }) => purchase({ ...input, quantity: input.quantity ?? 1 }) },
      PurchaseResult: { resolveType: ({ status }) => types[status] },
    },
  });
  process.on("SIGTERM", () => process.exit(0));
  await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
}
