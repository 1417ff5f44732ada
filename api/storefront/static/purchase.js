// A purchase from the click to its answer: one key per click, kept over reloads until the answer is known.

import { ask, backoff, now, pause } from "./api.js";

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
// A purchase refused with one of these can never work; any other error leaves open what became of it.
const FINAL_CODES = ["BAD_USER_INPUT", "NOT_FOUND", "IDEMPOTENCY_KEY_REUSED"];
const BUDGET = 120_000; // ms for which a purchase is asked for again before the buyer is asked
const RECENT = 600_000; // ms
const OPENING = 3000; // ms; a purchase this near to the opening is sent again when it is open

// One of the browser's storages. What it does not let the page keep, being forbidden or full, is kept for as long as the
// page is open.
class Kept {
  #place;
  #unkept = new Map();

  constructor(place) {
    this.#place = place;
  }

  getItem(name) {
    if (this.#unkept.has(name)) return this.#unkept.get(name);
    try {
      return window[this.#place].getItem(name);
    } catch {
      return null;
    }
  }

  setItem(name, value) {
    this.#unkept.delete(name);
    try {
      window[this.#place].setItem(name, value);
    } catch {
      this.#unkept.set(name, value);
    }
  }

  removeItem(name) {
    this.#unkept.delete(name);
    try {
      window[this.#place].removeItem(name);
    } catch {
      // it was not kept there
    }
  }
}
export const lasting = new Kept("localStorage");
const visit = new Kept("sessionStorage"); // survives a reload and the way back, and ends with the tab

// randomUUID asks for https, and a laptop on the local network has none.
export function randomKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Whoever uses this browser. Looked up each time: of two tabs that were the first, the later one has made it up.
export function buyer() {
  const known = lasting.getItem("dropzero.buyer");
  if (known) return known;
  const made = randomKey();
  lasting.setItem("dropzero.buyer", made);
  return made;
}

const intentOf = (productId) => `dropzero.intent.${productId}`;
const outcomeOf = (productId) => `dropzero.outcome.${productId}`;

// A purchase that was begun and whose answer is not known: its key, and when it was last asked for; or null.
export const unanswered = (productId) => JSON.parse(lasting.getItem(intentOf(productId)));

// What was meant a moment ago is still meant. Whoever comes back days later is asked first: it may buy now.
// A moment that is yet to come is one of a clock that was set back since.
export const isRecent = ({ at }) => Math.abs(Date.now() - at) < RECENT;

// The last answer that this tab has had, or null.
export const lastOutcome = (productId) => JSON.parse(visit.getItem(outcomeOf(productId)));

// Buys one, or finds out what became of the purchase that is unanswered. `tell` hears "BUSY", "OPENING" and "ASKING"
// while it is asked for again. The outcome is the API's, or REFUSED with its message, or UNANSWERED: then the key is
// kept, and buying again is the same purchase.
export async function buy(productId, tell) {
  const key = unanswered(productId)?.key ?? randomKey();
  lasting.setItem(intentOf(productId), JSON.stringify({ key, at: Date.now() }));
  visit.removeItem(outcomeOf(productId));
  const outcome = await decide({ productId, userRef: buyer(), idempotencyKey: key }, tell);
  if (outcome.status === "UNANSWERED") return outcome;
  visit.setItem(outcomeOf(productId), JSON.stringify(outcome));
  if (unanswered(productId)?.key === key) lasting.removeItem(intentOf(productId));
  return outcome;
}

// The outcome of a purchase under its key, asked for again until there is one, but not for ever.
export async function decide(input, tell = () => {}) {
  const end = performance.now() + BUDGET;
  for (let failures = 0; ; failures += 1) {
    let wait;
    try {
      const { purchase } = await ask(PURCHASE, { input });
      if (purchase.status === "BUSY") {
        tell("BUSY");
        wait = purchase.retryAfterMs * (1 + Math.random() / 2);
      } else if (purchase.status === "NOT_OPEN" && Date.parse(purchase.opensAt) - now() < OPENING) {
        // Our clock is nearly the database's, and only the latter counts.
        tell("OPENING");
        wait = Math.max(Date.parse(purchase.opensAt) - now(), backoff(failures) / 2);
      } else return purchase;
    } catch (error) {
      if (FINAL_CODES.includes(error.code)) return { status: "REFUSED", message: error.message };
      tell("ASKING");
      wait = backoff(failures);
    }
    if (performance.now() + wait > end) return { status: "UNANSWERED" };
    await pause(wait);
  }
}
