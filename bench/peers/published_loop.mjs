// The published loop: one optimistic transaction per purchase, retried on conflict, on Fastify and Mercurius with
// JIT and node-postgres with 50 connections. Its stock is one row of a table of its own (see bench/published.py), and
// its orders go to the table of the server it is compared with.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { servePurchases } from "./purchases.mjs";

const pool = new pg.Pool({ host: process.env.PGHOST, user: "postgres", database: "postgres", max: 50 });
pool.on("error", () => {}); // a session that was ended while idle; the pool opens another
const attempts = Number(process.env.ATTEMPTS ?? 40);

async function attempt(client, { productId, userRef, quantity }) {
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  const read = await client.query({
    name: "read",
    text: "SELECT stock FROM published_stock WHERE product_id = $1",
    values: [productId],
  });
  const stock = read.rows[0].stock;
  if (stock < quantity) {
    await client.query("ROLLBACK");
    return { status: "SOLD_OUT", remaining: stock };
  }
  await client.query({
    name: "decrement",
    text: "UPDATE published_stock SET stock = stock - $2, version = version + 1 WHERE product_id = $1 AND stock >= $2",
    values: [productId, quantity],
  });
  const id = randomUUID();
  await client.query({
    name: "insert",
    text: "INSERT INTO orders (id, product_id, user_ref, quantity, status, region) VALUES ($1, $2, $3, $4, 'CONFIRMED', 'peer')",
    values: [id, productId, userRef, quantity],
  });
  await client.query("COMMIT");
  return { status: "CONFIRMED", remaining: stock - quantity, order: { id } };
}

async function purchase(input) {
  for (let tried = 1; tried <= attempts; tried++) {
    const client = await pool.connect();
    try {
      return { ...(await attempt(client, input)), attempts: tried };
    } catch (error) {
      await client.query("ROLLBACK");
      if (error.code !== "40001") throw error;
    } finally {
      client.release();
    }
    await sleep(Math.random() * Math.min(250, 5 * 2 ** (tried - 1)));
  }
  return { status: "BUSY", attempts };
}

await servePurchases(purchase);
