// What all peers share: Fastify and Mercurius with JIT.

import Fastify from "fastify";
import mercurius from "mercurius";

/** Serve until SIGTERM. */
export async function serve(schema, resolvers) {
  const app = Fastify();
  app.register(mercurius, { jit: 1, schema, resolvers });
  process.on("SIGTERM", () => process.exit(0));
  await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
}
