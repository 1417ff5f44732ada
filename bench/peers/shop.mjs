// The storefront's reads, and the answer to a purchase of a sold-out product, on Fastify and Mercurius with JIT and
// node-postgres. It reads the tables of the server that it is compared with, by the same statements.

import pg from "pg";
import { resolvers, schema as purchases } from "./purchases.mjs";
import { serve } from "./server.mjs";

const pool = new pg.Pool({ host: process.env.PGHOST, user: "postgres", database: "postgres", max: 10 });

const schema = `
  type Query { now: String!, product(id: ID!): Product, products(first: Int!): ProductConnection! }
  type Product { id: ID!, name: String!, dropName: String!, stock: Int!, soldOut: Boolean!, opensAt: String }
  type ProductConnection { edges: [ProductEdge!]! }
  type ProductEdge { node: Product! }
  ${purchases}
`;

const select = (clauses) => `
  SELECT found.id, name, drop_name, opens_at, sum(stock)::integer AS stock
  FROM (SELECT id, name, drop_name, opens_at, created_at FROM products ${clauses}) AS found
  JOIN stock_shards ON stock_shards.product_id = found.id
  GROUP BY found.id, name, drop_name, opens_at, created_at
  ORDER BY created_at DESC, found.id DESC`;

async function read(name, clauses, values) {
  const { rows } = await pool.query({ name, text: select(clauses), values });
  return rows.map(({ id, name, drop_name, opens_at, stock }) => ({
    id,
    name,
    dropName: drop_name,
    stock,
    soldOut: stock === 0,
    opensAt: opens_at?.toISOString(),
  }));
}

const byId = async (id) => (await read("product", "WHERE id = $1", [id]))[0];

async function purchase({ productId, quantity }) {
  const { stock } = await byId(productId);
  if (stock >= quantity) throw new Error("this peer sells nothing");
  return { status: "SOLD_OUT", attempts: 1, remaining: stock };
}

await serve(schema, {
  Query: {
    now: async () => (await pool.query({ name: "now", text: "SELECT now() AS now" })).rows[0].now.toISOString(),
    product: (_, { id }) => byId(id),
    products: async (_, { first }) => ({
      edges: (await read("products", "ORDER BY created_at DESC, id DESC LIMIT $1", [first])).map((node) => ({ node })),
    }),
  },
  ...resolvers(purchase),
});
