// What the programs of all clients share: the test's arguments, its actions, and the values that a page has shown.
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';

globalThis.WebSocket ??= WebSocket; // Node.js has one of its own from version 22 on

/** What the test has prepared: `url`, `busyUrl`, `drop`, and the ids of `products` by what becomes of a purchase. */
export const shop = JSON.parse(process.argv[2]);
export const socketUrl = shop.url.replace('http', 'ws');

/** Print what was seen in a check. */
export function saw(check, seen) {
  console.log(JSON.stringify({ check, saw: seen }));
}

/** Have the test perform an action, and wait until it is done. */
export async function perform(action) {
  console.log(JSON.stringify({ perform: action }));
  const lines = createInterface({ input: process.stdin });
  await once(lines, 'line');
  lines.close();
}

/** The latest value that a page has shown. */
export class Shown {
  #changed = () => {};

  show(value) {
    this.value = value;
    this.#changed();
  }

  /** Wait until the page shows what the condition is true for, and return it. */
  async until(condition) {
    while (this.value === undefined || !condition(this.value)) {
      await new Promise((resolve) => (this.#changed = resolve));
    }
    return this.value;
  }
}

/** What the client has sent in each of its requests: a query, or only its hash. */
export const requests = [];

const send = globalThis.fetch;
globalThis.fetch = (url, options) => {
  const query = options.body ? JSON.parse(options.body).query : new URL(url).searchParams.get('query');
  requests.push(query ? 'query' : 'hash');
  return send(url, options);
};
