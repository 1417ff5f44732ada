// A purchase from the click to its answer, in words: one key per click, kept over reloads until the answer is known. And
// what this browser keeps: values in its storages, and the guest who buys in it.

import { backoff, pause, request, until } from "./api.js";
import { announce, isolated, moment, readCookie, text, writeCookie } from "./locale.js";

export const hasGuests = document.body.dataset.guests === "true"; // on this server, buyers without an account can buy
const GUEST = `mutation BecomeGuest { guest { token subject } }`;
const PURCHASE = `mutation Buy($input: PurchaseInput!) {
  purchase(input: $input) {
    status region
    ... on PurchaseConfirmed { order { ...Bought } remaining replayed }
    ... on PurchaseHeld { order { ...Bought } remaining replayed }
    ... on PurchaseCancelled { order { ...Bought } }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseClosed { closedAt }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseBusy { retryAfterMs }
  }
}
fragment Bought on Order {
  id reference status quantity heldUntil product { name stock stocked version }
}`;
const BUDGET = 120_000; // ms for which a purchase is sent again before the buyer has to decide
const RECENT = 600_000; // ms
const KEPT_GUEST = "dropzero.guest";
const GUEST_COOKIE = "dropzero_guest"; // its token, for purchases without script
const GUEST_LIFETIME = 15_552_000; // s; the server's tokens are valid as long
const SETTLING = 200; // ms; a browser shows what one tab has stored to other tabs a moment later
const OPENING = 3000; // ms; a purchase this shortly before the opening is sent again at the opening

// One of the browser's storages. Where it is forbidden or full, the values are kept in memory until the page is closed.
class Store {
  #storage;
  #inMemory = new Map();
  #isForbidden = false;

  constructor(storage) {
    this.#storage = storage;
  }

  // Whether values outlive the page: one is stored and removed to find out.
  get isLasting() {
    this.setItem("dropzero.probe", "1");
    this.removeItem("dropzero.probe");
    return !this.#isForbidden && this.#inMemory.size === 0;
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
      this.#isForbidden = true;
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
export const visit = new Store("sessionStorage"); // survives a reload and the Back button, and ends with the tab

// randomUUID needs https, which a laptop on the local network does not have.
export function randomKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The guest of this browser, with the `token` and the `subject`, or null before the first purchase. It is read anew for
// each purchase, because another tab can make one or replace it, and a form without script can have made the cookie's. The
// server makes another guest for a form where the token of the one that is kept has expired: then the cookie's counts.
export function knownGuest() {
  const token = readCookie(GUEST_COOKIE);
  const stored = JSON.parse(lasting.getItem(KEPT_GUEST));
  const isReplaced = stored && token && stored.token !== token && claimsOf(stored.token).exp * 1000 <= Date.now();
  const kept = isReplaced ? null : stored;
  if (kept && kept.token !== token) writeCookie(GUEST_COOKIE, kept.token, GUEST_LIFETIME, "Strict");
  if (kept || !token) return kept;
  const guest = { token, subject: claimsOf(token).sub };
  if (guest.subject) lasting.setItem(KEPT_GUEST, JSON.stringify(guest));
  return guest.subject ? guest : null;
}

// Sends a query with the variable `known`: whether there is a guest, whose token goes with it. A guest whom the server does
// not accept any more is nobody.
export async function requestAsGuest(query, variables) {
  const token = hasGuests ? knownGuest()?.token : null;
  try {
    if (token) return await request(query, { ...variables, known: true }, token);
  } catch (error) {
    if (error.code !== "UNAUTHENTICATED") throw error;
  }
  return request(query, { ...variables, known: false });
}

// Whether this browser will know its guest when the page is opened again.
export const isKept = () => lasting.isLasting || navigator.cookieEnabled;

// What a token says: its subject `sub` and its end `exp`, or nothing. Whether it is valid is for the server to say.
function claimsOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))) ?? {};
  } catch {
    return {};
  }
}

// Returns the guest of this browser. Makes a new one if there is none, or if the server has refused the token of the one
// that is known. All tabs end with the same guest. Throws the errors of the mutation `guest`.
export async function guest(refused) {
  const usable = () => {
    const known = knownGuest();
    return known && known.token !== refused?.token ? known : null;
  };
  if (usable()) return usable();
  return oneTabAtATime(async () => {
    if (usable()) return usable();
    const { guest: made } = await request(GUEST);
    // Another tab can have made one meanwhile, without locks or before its guest was seen here. Then that one counts.
    if (!usable()) lasting.setItem(KEPT_GUEST, JSON.stringify(made));
    return usable(); // which keeps the cookie, too
  });
}

// Calls `work` while no other tab does, nor for SETTLING after it. Locks need https or localhost, and allowed storage.
// Without them `work` is called at once.
function oneTabAtATime(work) {
  return new Promise((resolve) => {
    const withLock = () => {
      const result = work();
      resolve(result);
      return result.then(() => pause(SETTLING)).catch(() => {}); // the caller gets the error
    };
    const withoutLock = () => resolve(work());
    if (navigator.locks) navigator.locks.request(KEPT_GUEST, withLock).catch(withoutLock);
    else withoutLock();
  });
}

const intentOf = (productId) => `dropzero.intent.${productId}`;
const outcomeOf = (productId) => `dropzero.outcome.${productId}`;

// The purchase whose answer is unknown, or null: its key, its quantity, the guest's `subject` if it was sent, and the time
// of the last attempt. Intents without `subject` are from before there were guests: their buyers are gone.
export function unanswered(productId) {
  const intent = JSON.parse(lasting.getItem(intentOf(productId)));
  return intent && "subject" in intent ? intent : null;
}

function keepIntent(productId, { key, quantity }, subject) {
  lasting.setItem(intentOf(productId), JSON.stringify({ key, quantity, subject, at: Date.now() }));
}

// A recent purchase is sent again by itself. An older one waits for the buyer's click, because it may still buy. A time
// in the future means that the clock was set back since.
export const isRecent = ({ at }) => Math.abs(Date.now() - at) < RECENT;

// The last outcome in this tab, or null.
export const lastOutcome = (productId) => JSON.parse(visit.getItem(outcomeOf(productId)));

// Buys so many units, or finds out what became of the unanswered purchase. `onWaiting` is called with "BUSY", "CROWDED",
// "OPENING" or "CHECKING" before something is sent again. Returns the API's outcome, or one of these:
// - REFUSED, with the `code` of the server's error.
// - SIGN_IN: this server has no guests.
// - TOO_CROWDED: this network has used its share of new guests. Nothing was bought.
// - UNANSWERED: the key is kept, and buying again is the same purchase.
// - UNKNOWN, with the `subject` for whom it was sent: it may have bought, and cannot be looked up any more.
export async function buy(productId, quantity, onWaiting) {
  const intent = unanswered(productId) ?? { key: randomKey(), quantity, subject: null };
  keepIntent(productId, intent, intent.subject);
  visit.removeItem(outcomeOf(productId));
  const outcome = await buyAsGuest(productId, intent, onWaiting);
  if (outcome.status === "UNANSWERED") return outcome;
  // Where there are no guests, the page says so by itself.
  if (outcome.status !== "SIGN_IN") visit.setItem(outcomeOf(productId), JSON.stringify(outcome));
  if (unanswered(productId)?.key === intent.key) lasting.removeItem(intentOf(productId));
  return outcome;
}

// Sends a purchase for the guest of this browser. When the server does not accept the guest's token any more, it is sent
// once again for a new guest.
//
// A key is one purchase only under one subject. So a purchase that may have bought for one guest is never sent for
// another: that could buy twice. Its outcome is UNKNOWN, which the buyer has to see.
async function buyAsGuest(productId, intent, onWaiting) {
  const { key: idempotencyKey, quantity = 1 } = intent; // intents of before have no quantity: then it was one
  const lost = sentForAnother(productId, knownGuest());
  if (lost) return lost;
  for (let refused = null; ; ) {
    const admitted = await admit(refused, onWaiting);
    if (!admitted.token) return admitted;
    const lostMeanwhile = sentForAnother(productId, admitted);
    if (lostMeanwhile) return lostMeanwhile;
    const wasSent = unanswered(productId)?.subject;
    keepIntent(productId, intent, admitted.subject);
    const outcome = await decide({ productId, quantity, idempotencyKey }, onWaiting, admitted.token);
    if (outcome.status !== "UNAUTHENTICATED") return outcome;
    if (wasSent || outcome.doubtful) return { status: "UNKNOWN", subject: admitted.subject };
    keepIntent(productId, intent, null); // nothing was bought under this key
    if (refused) return { status: "REFUSED", code: "UNAUTHENTICATED" };
    refused = admitted;
  }
}

// UNKNOWN if the unanswered purchase was sent for another guest than this one, else null.
export function sentForAnother(productId, guest) {
  const subject = unanswered(productId)?.subject;
  return subject && subject !== guest?.subject ? { status: "UNKNOWN", subject } : null;
}

// Returns the guest of this browser, see `guest`. Returns an outcome if there is none after BUDGET.
async function admit(refused, onWaiting) {
  const end = performance.now() + BUDGET;
  for (let failures = 0; ; failures += 1) {
    let wait, crowded;
    try {
      return await guest(refused);
    } catch (error) {
      if (error.code === "FORBIDDEN") return { status: "SIGN_IN" };
      crowded = error.code === "RATE_LIMITED";
      wait = waitAfter(error, failures);
    }
    onWaiting(crowded ? "CROWDED" : "CHECKING");
    if (performance.now() + wait > end) return { status: crowded ? "TOO_CROWDED" : "UNANSWERED" };
    await pause(wait);
  }
}

// Sends a purchase under its key until there is an outcome, for at most BUDGET. `token` is the buyer's; without one, the
// input names the buyer. UNAUTHENTICATED is an outcome, and `doubtful` if an earlier request may have bought.
export async function decide(input, onWaiting = () => {}, token = null) {
  const end = performance.now() + BUDGET;
  let doubtful = false;
  for (let failures = 0; ; failures += 1) {
    let wait;
    try {
      const { purchase } = await request(PURCHASE, { input }, token);
      if (purchase.status === "BUSY") {
        onWaiting("BUSY");
        wait = purchase.retryAfterMs * (1 + Math.random() / 2);
      } else if (purchase.status === "NOT_OPEN" && until(purchase.opensAt) < OPENING) {
        // The page's clock is only nearly the database's, which decides.
        onWaiting("OPENING");
        wait = Math.max(until(purchase.opensAt), backoff(failures) / 2);
      } else return purchase;
    } catch (error) {
      const { code } = error;
      if (code === "UNAUTHENTICATED") return { status: "UNAUTHENTICATED", doubtful };
      if (code in REFUSALS || code?.startsWith("GRAPHQL_")) return { status: "REFUSED", code };
      doubtful ||= code !== "RATE_LIMITED";
      onWaiting("CHECKING");
      wait = waitAfter(error, failures);
    }
    if (performance.now() + wait > end) return { status: "UNANSWERED" };
    await pause(wait);
  }
}

const waitAfter = ({ retryAfterMs = 0 }, failures) => Math.max(retryAfterMs, backoff(failures));

// A purchase refused with one of these codes, or with one that begins with GRAPHQL_, can never succeed. After any other
// error its decision is unknown, except after UNAUTHENTICATED and RATE_LIMITED: then the request was not executed.
// The server's own message is in English, and written for developers.
const REFUSALS = {
  BAD_USER_INPUT: "answer_refused_bad_user_input",
  FORBIDDEN: "answer_refused_forbidden",
  IDEMPOTENCY_KEY_REUSED: "answer_refused_idempotency_key_reused",
  NOT_FOUND: "answer_refused_not_found",
  UNAUTHENTICATED: "answer_refused_unauthenticated",
};

const ANSWERS = {
  CONFIRMED: ({ replayed, remaining }) => {
    if (remaining === undefined) return ["answer_confirmed", text("answer_paid")];
    if (replayed) return ["answer_confirmed", text("answer_once")];
    return ["answer_confirmed", text("answer_left", { count: remaining })];
  },
  HELD: ({ order }) => {
    const detail = document.body.dataset.demo === "true" ? "answer_held_detail" : "answer_held_shop";
    return ["answer_held", text(detail, { moment: moment(order.heldUntil) })];
  },
  CANCELLED: () => ["answer_cancelled", ""],
  RELEASED: () => ["answer_released", text("answer_released_detail")],
  LAPSED: () => ["answer_lapsed", text("answer_lapsed_detail")],
  SOLD_OUT: ({ remaining }) => {
    if (remaining > 0) return ["answer_few", text("answer_few_detail")];
    return ["answer_sold_out", text("answer_sold_out_detail")];
  },
  NOT_OPEN: ({ opensAt }) => ["answer_not_open", text("opens_at", { moment: moment(opensAt) })],
  PAUSED: () => ["answer_paused", text("answer_paused_detail")],
  CLOSED: ({ closedAt }) => ["answer_closed", text("closed_at", { moment: moment(closedAt) })],
  LIMIT_REACHED: ({ limit, held }) => ["limit_reached", text("answer_limit", { count: limit, held })],
  REFUSED: ({ code }) => ["answer_refused", text(REFUSALS[code] ?? "answer_refused_bad_user_input")],
  SIGN_IN: () => ["answer_sign_in", text("answer_sign_in_detail")],
  UNKNOWN: ({ subject }) => ["answer_unknown", text("answer_unknown_detail", { reference: isolated(subject) })],
  TOO_CROWDED: () => ["answer_crowded", text("answer_crowded_detail")],
  UNANSWERED: () => ["answer_unanswered", text("answer_unanswered_detail")],
  BUSY: () => ["answer_busy", text("answer_busy_detail")],
  CROWDED: () => ["answer_crowded", text("answer_busy_detail")],
  OPENING: () => ["answer_opening", text("answer_opening_detail")],
  CHECKING: () => ["answer_checking", text("answer_checking_detail")],
};

// The verdict and the detail of an outcome, in the reader's language. Either may be empty.
export function answerOf(outcome) {
  const [verdict, detail] = ANSWERS[outcome.status](outcome);
  return [text(verdict), detail];
}

// What is said before there is an outcome, by the key of the sale's state.
export const NO_ANSWERS = { not_open_yet: "answer_before", sold_out: "answer_gone", paused: "answer_paused_detail" };

export function announceOutcome(outcome) {
  const { reference } = outcome.order ?? {};
  const code = reference && `${text("order_number")} ${isolated(reference)}`;
  announce([...answerOf(outcome), code].filter(Boolean).join(" "));
}
