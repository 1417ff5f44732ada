// The API: operations over fetch, live stock over one websocket, and the database's clock.

import { text } from "./locale.js";

const GRAPHQL = new URL("/graphql", location.href);
const STOCK = `subscription Watch($ids: [ID!]!) {
  stockChanged(productIds: $ids) { productId stock version stale revision }
}`;

const ANSWER_DEADLINE = 20_000; // ms; the server has decided a purchase within 15 s
const CONNECT_DEADLINE = 10_000; // ms until the connection is acknowledged
const PING_INTERVAL = 20_000; // ms; a pong is due before the next ping
const FIRST_PAUSE = 500; // ms
const LONGEST_PAUSE = 20_000; // ms
const MAX_DRIFT = 1000; // ms between two clocks of this machine; beyond it neither is trusted
const TRY_AGAIN_LATER = 1013; // the close code of a server whose limit of sockets is reached

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Milliseconds until the next attempt: exponential, with a random half, so that the pages of one server do not all
// return to it in the same moment.
export function backoff(failures) {
  const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
  return longest * (0.5 + Math.random() / 2);
}

// Returns a function that calls `read` within half a second, so that not all pages read at once. Calls until then are one.
export function soon(read) {
  let waiting;
  const call = () => {
    waiting = undefined;
    read().catch(() => {});
  };
  return () => (waiting ??= setTimeout(call, Math.random() * 500));
}

// Reads what the page is about, again and again until there is an answer, and returns it. Without one, the notice says
// so. Returns undefined, with the text `missing` in the notice, when the server has no such thing.
export async function readFirst(read, missing) {
  const notice = document.getElementById("notice");
  for (let failures = 0; ; failures += 1) {
    try {
      const found = await read();
      notice.hidden = true;
      return found;
    } catch ({ code }) {
      const isMissing = missing && ["NOT_FOUND", "BAD_USER_INPUT", "UNAUTHENTICATED"].includes(code);
      notice.textContent = text(isMissing ? missing : "unreachable");
      notice.hidden = false;
      if (isMissing) return undefined;
    }
    await pause(backoff(failures));
  }
}

// Milliseconds until a moment of the database's clock; 0 if there is none.
export const until = (moment) => (moment ? Date.parse(moment) - now() : 0);

// Whether the sale of a product has ended.
export const isClosed = ({ archivedAt, closesAt }) => archivedAt || (closesAt && until(closesAt) <= 0);

// Sends an operation and returns its data. `token` says who is calling. Throws an error of the API with its `code`, and
// with `retryAfterMs` after RATE_LIMITED. An error without a `code` means that no answer came.
export async function request(query, variables, token = null) {
  const sent = localClock();
  const headers = { "content-type": "application/json", accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(GRAPHQL, {
    method: "POST",
    headers,
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(ANSWER_DEADLINE),
  });
  const { data, errors } = await response.json();
  if (errors) {
    const { code, retryAfterMs } = errors[0].extensions ?? {};
    throw Object.assign(new Error(errors[0].message), { code, retryAfterMs });
  }
  if (data.now) readClock(data.now, sent, localClock());
  return data;
}

// The database's clock, by which drops open. An answer's `now` was read at some moment between sending and receiving:
// the middle is taken. The quickest answer is the most exact. It is kept until another contradicts it: then a clock was
// set, or this machine slept.
const clock = { ahead: 0, within: Infinity, drift: drift() }; // ms

// Nobody can set this clock while the page is open, but on some machines it stands still while they sleep.
function localClock() {
  return performance.timeOrigin + performance.now();
}

// How far the system's clock is ahead of the local one. It changes while the machine sleeps, or when the system's clock
// is set.
function drift() {
  return Date.now() - localClock();
}

function readClock(shown, sent, received) {
  const reading = { ahead: Date.parse(shown) - (sent + received) / 2, within: (received - sent) / 2 };
  const contradicts = Math.abs(reading.ahead - clock.ahead) > reading.within + clock.within;
  if (reading.within <= clock.within || contradicts) Object.assign(clock, reading);
  clock.drift = drift();
}

export const now = () => localClock() + clock.ahead;
const clockHasDrifted = () => Math.abs(drift() - clock.drift) > MAX_DRIFT;

// Keeps one subscription over one socket, for as long as the page is open. `payload` is that of connection_init.
// - `onData` gets the data of every event.
// - `onLost` is called when the connection is lost.
// - `onMissed` is called when the page may have missed more than events, and has to read over fetch: more than one
//   attempt to connect has failed, the machine slept, or the browser shows the page out of its cache.
// - `onEnd` gets the payload of the message by which the server ends the subscription, and returns whether for good.
export class Subscription {
  #failures = 0;
  #variables;
  #retry;
  #close;

  constructor(query, { onData, onLost, onMissed, onEnd, payload }) {
    Object.assign(this, { query, onData, onLost, onEnd, payload });
    this.onMissed = () => onMissed().catch(() => {});
    const retryNow = () => {
      if (this.#retry === undefined || document.visibilityState === "hidden") return;
      this.#connect();
    };
    addEventListener("pageshow", ({ persisted }) => persisted && this.onMissed());
    addEventListener("online", retryNow);
    document.addEventListener("visibilitychange", retryNow);
  }

  // Subscribes with these variables from now on. An open socket is replaced by a new one.
  start(variables) {
    this.#variables = variables;
    this.#close?.();
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const socket = new WebSocket(GRAPHQL.href.replace("http", "ws"), "graphql-transport-ws");
    const send = (message) => socket.send(JSON.stringify(message));
    let answered = true;
    const pinging = setInterval(() => {
      if (!answered) return retryLater();
      answered = false;
      if (clockHasDrifted()) this.onMissed();
      if (socket.readyState === WebSocket.OPEN) send({ type: "ping" });
    }, PING_INTERVAL);
    const connecting = setTimeout(() => retryLater(), CONNECT_DEADLINE);

    const close = () => {
      clearInterval(pinging);
      clearTimeout(connecting);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(); // not awaited: it is slow on a dead network
      this.#close = undefined;
    };
    const retryLater = (code) => {
      close();
      this.onLost();
      const later = code === TRY_AGAIN_LATER ? 4 : 0;
      this.#retry = setTimeout(() => this.#reconnect(), backoff(this.#failures + later));
      this.#failures += 1;
    };
    this.#close = close;

    socket.onclose = ({ code }) => retryLater(code);
    socket.onopen = () => send({ type: "connection_init", payload: this.payload });
    socket.onmessage = ({ data }) => {
      answered = true;
      const { type, payload } = JSON.parse(data);
      if (type === "connection_ack") {
        clearTimeout(connecting);
        if (clockHasDrifted()) this.onMissed();
        send({ id: "1", type: "subscribe", payload: { query: this.query, variables: this.#variables } });
      } else if (type === "next" && payload.data) {
        this.#failures = 0;
        this.onData(payload.data);
      } else if (type === "ping") send({ type: "pong" });
      else if (type !== "pong") this.onEnd?.(payload) ? close() : retryLater();
    };
  }

  async #reconnect() {
    this.#retry = undefined;
    if (this.#failures > 1) await this.onMissed();
    if (!this.#close) this.#connect();
  }
}

// Watches the stock of products. `onChange` gets every change. Versions never fall, even over several connections.
export class StockWatch extends Subscription {
  constructor({ onChange, ...others }) {
    const versions = new Map();
    const onData = ({ stockChanged: change }) => {
      if (change.version < (versions.get(change.productId) ?? 0)) return;
      versions.set(change.productId, change.version);
      onChange(change);
    };
    super(STOCK, { ...others, onData });
  }

  watch(ids) {
    this.start({ ids });
  }
}
