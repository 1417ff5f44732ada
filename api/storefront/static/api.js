// The API: operations over fetch, live stock over one websocket or what replaces it, and the database's clock.

import { announce, text } from "./locale.js";

const GRAPHQL = new URL("/graphql", location.href);
const STOCK = `subscription Watch($ids: [ID!]!) {
  stockChanged(productIds: $ids) { productId stock version stale revision }
}`;

const ANSWER_DEADLINE = 20_000; // ms; the server has decided a purchase within 15 s
const CONNECT_DEADLINE = 5000; // ms until the first connection is acknowledged, and twice as much for later ones
const PING_INTERVAL = 20_000; // ms; a pong is due before the next ping
const FIRST_PAUSE = 500; // ms
const LONGEST_PAUSE = 20_000; // ms
const MAX_DRIFT = 1000; // ms between two clocks of this machine; beyond it neither is trusted
const TRY_AGAIN_LATER = 1013; // the close code of a server whose limit of sockets is reached
const BLOCKED = 2; // sockets that failed in a row before they were acknowledged: this network may not let them through
const LATELY = 10_000; // ms, of which StockWatch knows how many units went
const POLLING = 1500; // ms between two readings, where neither a socket nor an event stream gets through

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
      const message = text(isMissing ? missing : "unreachable");
      if (notice.hidden || notice.textContent !== message) announce(message);
      notice.textContent = message;
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
export const isClockKnown = () => clock.within < Infinity;

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

// Keeps one subscription for as long as the page is open: over a websocket; over an event stream where BLOCKED sockets in
// a row have failed although fetch works; and where an event stream brings nothing either, by reading every POLLING ms
// until a connection brings an event. `payload` is that of connection_init, and has the headers of an event stream.
// - `onData` gets the data of every event.
// - `onLost` is called when the connection is lost, and at once when the browser is offline.
// - `onMissed` is called when the page may have missed more than events, and has to read over fetch: more than one
//   attempt to connect has failed, the machine slept, or the browser shows the page out of its cache.
// - `onPolled` is called when such a reading has succeeded in place of a connection.
// - `onEnd` gets the payload of the message by which the server ends the subscription, and returns whether for good.
// - `also` is a second subscription over the same websocket. An event stream does without.
export class Subscription {
  #failures = 0;
  #blocked = 0; // sockets in a row that failed before they were acknowledged
  #stream = null; // "opening", "open" or "failed": the event stream, where the last attempt was one
  #variables;
  #retry;
  #polling;
  #close;

  constructor(query, { onData, onLost, onMissed, onPolled, onEnd, payload, also }) {
    Object.assign(this, { query, onData, onLost, onPolled, onEnd, payload, also });
    this.onMissed = () => onMissed().then(() => true, () => false);
    const look = () => {
      if (document.visibilityState === "hidden") return this.#stream === "open" && this.#rest();
      if (clockHasDrifted()) this.onMissed();
      if (this.#retry !== undefined) this.#connect();
    };
    addEventListener("pageshow", ({ persisted }) => persisted && this.onMissed());
    addEventListener("online", look);
    addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
    addEventListener("offline", () => (this.#close ? this.#retryLater() : this.onLost()));
  }

  // Subscribes with these variables from now on. An open connection is replaced by a new one.
  start(variables) {
    this.#variables = variables;
    this.#close?.();
    this.#connect();
  }

  // Whether events come over a websocket, or will when it is open.
  get hasSocket() {
    return this.#stream === null;
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    // Behind a stream that failed comes a socket: the network can have changed.
    if (this.#blocked >= BLOCKED && this.#stream !== "failed") this.#openStream();
    else this.#openSocket();
  }

  #openSocket() {
    const socket = new WebSocket(GRAPHQL.href.replace("http", "ws"), "graphql-transport-ws");
    const send = (message) => socket.send(JSON.stringify(message));
    let answered = true;
    const pinging = setInterval(() => {
      if (!answered) return this.#retryLater();
      answered = false;
      if (clockHasDrifted()) this.onMissed();
      if (socket.readyState === WebSocket.OPEN) send({ type: "ping" });
    }, PING_INTERVAL);
    const connecting = setTimeout(() => this.#retryLater(), CONNECT_DEADLINE * (this.#failures > 0 ? 2 : 1));
    this.#blocked += 1;
    this.#stream = null;
    this.#close = () => {
      clearInterval(pinging);
      clearTimeout(connecting);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(); // not awaited: it is slow on a dead network
      this.#close = undefined;
    };
    socket.onclose = ({ code }) => this.#retryLater(code);
    socket.onopen = () => send({ type: "connection_init", payload: this.payload });
    socket.onmessage = ({ data }) => {
      answered = true;
      const { type, payload } = JSON.parse(data);
      if (type === "connection_ack") {
        clearTimeout(connecting);
        this.#blocked = 0;
        if (clockHasDrifted()) this.onMissed();
        if (this.also) send({ id: "2", type: "subscribe", payload: { query: this.also } });
        send({ id: "1", type: "subscribe", payload: { query: this.query, variables: this.#variables } });
      } else if (type === "next" && payload.data) this.#take(payload.data);
      else if (type === "ping") send({ type: "pong" });
      else if (type !== "pong") this.#end(payload);
    };
  }

  async #openStream() {
    const aborting = new AbortController();
    const { signal } = aborting;
    // The server sends a comment every few seconds.
    const awaitNext = (milliseconds) => setTimeout(() => signal.aborted || this.#retryLater(), milliseconds);
    let silence = awaitNext(CONNECT_DEADLINE);
    this.#stream = "opening";
    this.#close = () => {
      clearTimeout(silence);
      aborting.abort();
      this.#close = undefined;
    };
    try {
      const response = await fetch(GRAPHQL, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "text/event-stream", ...this.payload },
        body: JSON.stringify({ query: this.query, variables: this.#variables }),
        signal,
      });
      if (!response.ok) this.#stream = null; // the server itself wants no more connections, nor readings
      for await (const data of eventsOf(response.body.pipeThrough(new TextDecoderStream()).getReader())) {
        clearTimeout(silence);
        silence = awaitNext(2 * PING_INTERVAL);
        if (data?.errors) return this.#end(data.errors);
        if (data?.data) this.#take(data.data);
        if (data?.data) this.#stream = "open";
      }
    } catch {
      // The stream is lost, as after an end without an error.
    }
    if (!signal.aborted) this.#retryLater();
  }

  // Gives the connection of a stream back while nobody sees the page: a browser has few for one server.
  #rest() {
    this.#close?.();
    this.#retry = 0;
    this.onLost();
  }

  #take(data) {
    clearTimeout(this.#polling);
    this.#polling = undefined;
    this.#failures = 0;
    this.onData(data);
  }

  #end(payload) {
    if (this.onEnd?.(payload)) this.#close();
    else this.#retryLater();
  }

  #retryLater(code) {
    this.#close?.();
    this.onLost();
    const later = code === TRY_AGAIN_LATER ? 4 : 0;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#reconnect(), backoff(this.#failures + later));
    this.#failures += 1;
    if (this.#stream !== "opening") return;
    this.#stream = "failed";
    this.#polling ??= this.#poll(POLLING);
  }

  async #reconnect() {
    this.#retry = undefined;
    // Without an answer over fetch either, it is the server that is away, and not the sockets that are blocked.
    if (this.#failures > 1 && !(await this.onMissed())) this.#blocked = 0;
    if (!this.#close) this.#connect();
  }

  // Reads after `wait` ms, and again until a connection brings an event. A page that is not seen does not read.
  #poll(wait, failures = 0) {
    return setTimeout(async () => {
      const isRead = document.visibilityState === "hidden" || (await this.onMissed());
      if (this.#polling === undefined) return;
      if (isRead) this.onPolled?.();
      this.#polling = isRead ? this.#poll(POLLING) : this.#poll(backoff(failures), failures + 1);
    }, wait * (0.75 + Math.random() / 2));
  }
}

// The responses in the events of a stream, and undefined for a comment or for the end of the subscription.
async function* eventsOf(reader) {
  for (let unread = "", piece = {}; !piece.done; ) {
    piece = await reader.read();
    const events = (unread + (piece.value ?? "")).split("\n\n");
    unread = events.pop();
    for (const event of events) {
      const [, data] = /^event: next\ndata: (.*)/.exec(event) ?? [];
      yield data && JSON.parse(data);
    }
  }
}

// Watches the stock of products. `onChange` gets every change. Versions never fall, even over several connections: an
// older one is of a Region that is behind, or of another database, so that the page reads. `onOther` gets the events of
// the other subscription.
export class StockWatch extends Subscription {
  #versions = new Map();
  #levels = new Map(); // the last levels by product: `at`, in ms of performance.now(), and `stock`

  constructor({ onChange, onOther, ...others }) {
    const onData = (data) => {
      const change = data.stockChanged;
      if (!change) return onOther(data);
      const known = this.#versions.get(change.productId) ?? 0;
      if (change.version < known) return void this.onMissed();
      this.#versions.set(change.productId, change.version);
      const before = change.stale ? [] : (this.#levels.get(change.productId) ?? []);
      this.#levels.set(change.productId, [...before, { at: performance.now(), stock: change.stock }]);
      onChange(change);
    };
    const onLost = () => {
      this.#levels.clear();
      others.onLost();
    };
    super(STOCK, { ...others, onData, onLost });
  }

  watch(ids) {
    this.start({ ids });
  }

  // How many units of a product went in the last LATELY ms; 0 if the page has not watched for as long, or some came back.
  fellLately(id) {
    const from = performance.now() - LATELY;
    const all = this.#levels.get(id) ?? [];
    const levels = all.slice(Math.max(0, all.findLastIndex(({ at }) => at <= from)));
    this.#levels.set(id, levels);
    const rose = levels.some(({ stock }, index) => index > 0 && stock > levels[index - 1].stock);
    return levels.length === 0 || levels[0].at > from || rose ? 0 : levels[0].stock - levels.at(-1).stock;
  }

  // The version of a product that was read elsewhere: after a purchase, or in another database.
  learn(id, version) {
    this.#versions.set(id, version);
  }
}
