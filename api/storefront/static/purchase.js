// A purchase from the click to its answer: one key per click, kept over reloads until the answer is known.

import { backoff, now, pause, request } from "./api.js";

const PURCHASE = `mutation Buy($input: PurchaseInput!) {
  purchase(input: $input) {
    status region
    ... on PurchaseConfirmed { order { id status quantity region createdAt } remaining replayed }
    ... on PurchaseCancelled { order { id status quantity region createdAt } }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseBusy { retryAfterMs }
  }
}`;
// A purchase refused with one of these codes can never succeed. After any other error its decision is unknown.
const FINAL_CODES = ["BAD_USER_INPUT", "NOT_FOUND", "IDEMPOTENCY_KEY_REUSED"];
const BUDGET = 120_000; // ms for which a purchase is sent again before the buyer has to decide
const RECENT = 600_000; // ms
const OPENING = 3000; // ms; a purchase this shortly before the opening is sent again at the opening

// One of the browser's storages. Where it is forbidden or full, the values are kept in memory until the page is closed.
class Store {
  #storage;
  #inMemory = new Map();

  constructor(storage) {
    this.#storage = storage;
  }

  getItem(name) {
    if (this.#inMemory.has(name)) return this.#inMemory.get(name);
    try {
      return window[this.#storage].getItem(name);
    } catch {
      return null;
    }
  }

  setItem(name, value) {
    this.#inMemory.delete(name);
    try {
      window[this.#storage].setItem(name, value);
    } catch {
      this.#inMemory.set(name, value);
    }
  }

  removeItem(name) {
    this.#inMemory.delete(name);
    try {
      window[this.#storage].removeItem(name);
    } catch {
      // the storage is forbidden, so it holds nothing
    }
  }
}
export const lasting = new Store("localStorage");
const visit = new Store("sessionStorage"); // survives a reload and the Back button, and ends with the tab

// randomUUID needs https, which a laptop on the local network does not have.
export function randomKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The buyer of this browser. It is read anew for each purchase: when two first tabs open at once, both make one up, and
// the later one is kept.
export function buyer() {
  const known = lasting.getItem("dropzero.buyer");
  if (known) return known;
  const made = randomKey();
  lasting.setItem("dropzero.buyer", made);
  return made;
}

const intentOf = (productId) => `dropzero.intent.${productId}`;
const outcomeOf = (productId) => `dropzero.outcome.${productId}`;

// The purchase whose answer is unknown, or null: its key, and the time at which it was last sent.
export const unanswered = (productId) => JSON.parse(lasting.getItem(intentOf(productId)));

// A recent purchase is sent again by itself. An older one waits for the buyer's click, because it may still buy. A time
// in the future means that the clock was set back since.
export const isRecent = ({ at }) => Math.abs(Date.now() - at) < RECENT;

// The last outcome in this tab, or null.
export const lastOutcome = (productId) => JSON.parse(visit.getItem(outcomeOf(productId)));

// Buys one unit, or finds out what became of the unanswered purchase. `onWaiting` is called with "BUSY", "OPENING" or
// "CHECKING" before the purchase is sent again. Returns the API's outcome, or REFUSED with its message, or UNANSWERED.
// After UNANSWERED the key is kept, and buying again is the same purchase.
export async function buy(productId, onWaiting) {
  const key = unanswered(productId)?.key ?? randomKey();
  lasting.setItem(intentOf(productId), JSON.stringify({ key, at: Date.now() }));
  visit.removeItem(outcomeOf(productId));
  const outcome = await decide({ productId, userRef: buyer(), idempotencyKey: key }, onWaiting);
  if (outcome.status === "UNANSWERED") return outcome;
  visit.setItem(outcomeOf(productId), JSON.stringify(outcome));
  if (unanswered(productId)?.key === key) lasting.removeItem(intentOf(productId));
  return outcome;
}

// Sends a purchase under its key until there is an outcome, for at most BUDGET.
export async function decide(input, onWaiting = () => {}) {
  const end = performance.now() + BUDGET;
  for (let failures = 0; ; failures += 1) {
    let wait;
    try {
      const { purchase } = await request(PURCHASE, { input });
      if (purchase.status === "BUSY") {
        onWaiting("BUSY");
        wait = purchase.retryAfterMs * (1 + Math.random() / 2);
      } else if (purchase.status === "NOT_OPEN" && Date.parse(purchase.opensAt) - now() < OPENING) {
        // The page's clock is only nearly the database's, which decides.
        onWaiting("OPENING");
        wait = Math.max(Date.parse(purchase.opensAt) - now(), backoff(failures) / 2);
      } else return purchase;
    } catch (error) {
      if (FINAL_CODES.includes(error.code)) return { status: "REFUSED", message: error.message };
      onWaiting("CHECKING");
      wait = backoff(failures);
    }
    if (performance.now() + wait > end) return { status: "UNANSWERED" };
    await pause(wait);
  }
}
