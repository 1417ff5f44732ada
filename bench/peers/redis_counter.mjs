// A Redis counter without durable orders, on Fastify and Mercurius with JIT: the fastest way to sell a drop that
// forgets who bought it when the power fails.

import { randomUUID } from "node:crypto";
import Redis from "ioredis";
import { servePurchases } from "./purchases.mjs";

const redis = new Redis({ port: Number(process.env.REDIS_PORT), enableAutoPipelining: true });
await redis.set("stock", 1_000_000_000);

async function purchase({ quantity }) {
  const remaining = await redis.decrby("stock", quantity);
  if (remaining < 0) {
    await redis.incrby("stock", quantity);
    return { status: "SOLD_OUT", remaining: 0, attempts: 1 };
  }
  return { status: "CONFIRMED", remaining, order: { id: randomUUID() }, attempts: 1 };
}

await servePurchases(purchase);
