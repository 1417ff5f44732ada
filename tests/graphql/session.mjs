// What the scripted sessions of GraphQL clients share. A session prints what it saw, one line of JSON per check. The
// test compares that with what it expects.
import { once } from 'node:events';
import { createInterface } from 'node:readline';

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

/** Start an operation of a client. `take` waits for the next event of the operation, `untaken` has the others. */
export function run(client, request) {
  const untaken = [];
  let arrived = () => {};
  const emit = (...event) => {
    untaken.push(event);
    arrived();
  };
  const stop = client.subscribe(request, {
    next: (result) => emit('next', result.errors ? codes(result.errors) : result.data),
    error: (error) => emit('error', Array.isArray(error) ? codes(error) : error.response?.status ?? String(error)),
    complete: () => emit('complete'),
  });
  const take = async () => {
    while (untaken.length === 0) await new Promise((resolve) => (arrived = resolve));
    return untaken.shift();
  };
  return { stop, take, untaken };
}

/** All events of an operation until it has ended. */
export async function outcome(client, request) {
  const { take } = run(client, request);
  const events = [await take()];
  while (events.at(-1)[0] === 'next') events.push(await take());
  return events;
}

function codes(errors) {
  return errors.map((error) => error.extensions.code);
}

export function watch(productId) {
  return {
    query: 'subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock version } }',
    variables: { ids: [productId] },
  };
}

export function buy(productId) {
  return {
    query: 'mutation ($input: PurchaseInput!) { purchase(input: $input) { status } }',
    variables: { input: { productId, userRef: 'ada' } },
  };
}

export const HELLO = { query: '{ __typename }' };
export const SYNTAX_ERROR = { query: '{ products(' };
export const INVALID = { query: '{ nonsense }' };
export const CREATE = {
  query: 'mutation { createProduct(input: { name: "Cap", dropName: "Second Light", stock: 3 }) { stock } }',
};
