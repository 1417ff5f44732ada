// The API: operations over fetch, live stock over one websocket, and what time it is at the database.

const GRAPHQL = new URL("/graphql", location.href);
const STOCK = `subscription Watch($ids: [ID!]!) {
  stockChanged(productIds: $ids) { productId stock version stale }
}`;

const ANSWER_DEADLINE = 20_000; // ms; the server has decided a purchase within 15 s
const CONNECT_DEADLINE = 10_000; // ms until the connection is acknowledged
const PING_INTERVAL = 20_000; // ms; a pong is due before the next ping
const FIRST_PAUSE = 500; // ms
const LONGEST_PAUSE = 20_000; // ms
const DOUBT = 1000; // ms between two clocks after which neither is believed
const COME_BACK_LATER = 1013; // the close code of a server that has all the sockets it takes

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Exponential, and jittered by half: the pages of one server do not all come back to it in the same moment.
export function backoff(failures) {
  const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
  return longest * (0.5 + Math.random() / 2);
}

// The data of an operation. An error carries the `code` of the API's contract; one without any had no answer.
export async function ask(query, variables) {
  const sent = here();
  const response = await fetch(GRAPHQL, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(ANSWER_DEADLINE),
  });
  const { data, errors } = await response.json();
  if (errors) throw Object.assign(new Error(errors[0].message), { code: errors[0].extensions?.code });
  if (data.now) readClock(data.now, sent, here());
  return data;
}

// The database's clock, by which drops open, as the answers with a `now` tell it: it showed that at some moment between
// sending and receiving, and the middle is taken. The answer that was quickest tells it best, until one contradicts it: a
// clock was set, or this machine slept.
const clock = { ahead: 0, within: Infinity, drift: drift() }; // ms

// Nobody sets it while the page is open, but on some machines it stands still while they sleep.
function here() {
  return performance.timeOrigin + performance.now();
}

// How far the clock on the wall is from it: this changes while the machine sleeps, or when that clock is set.
function drift() {
  return Date.now() - here();
}

function readClock(shown, sent, received) {
  const heard = { ahead: Date.parse(shown) - (sent + received) / 2, within: (received - sent) / 2 };
  const contradicts = Math.abs(heard.ahead - clock.ahead) > heard.within + clock.within;
  if (heard.within <= clock.within || contradicts) Object.assign(clock, heard);
  clock.drift = drift();
}

export const now = () => here() + clock.ahead;
const isDoubtful = () => Math.abs(drift() - clock.drift) > DOUBT;

// Watches products' stock over one socket and one subscription, for as long as the page is open. `onChange` hears every
// change, only upwards in version whichever connection brings it; `onLost` is called when the connection is lost; and
// `onDoubt` where the page may have missed more than that, to read it over fetch: more than one attempt has failed, the
// machine has slept, or the reader has come back to a page that the browser had put away.
export class StockWatch {
  #versions = new Map();
  #failures = 0;
  #ids;
  #retry;
  #end;

  constructor({ onChange, onLost, onDoubt }) {
    Object.assign(this, { onChange, onLost, onDoubt });
    const comeBack = () => {
      if (this.#retry === undefined || document.visibilityState === "hidden") return;
      this.#connect();
    };
    addEventListener("pageshow", ({ persisted }) => persisted && this.onDoubt());
    addEventListener("online", comeBack);
    document.addEventListener("visibilitychange", comeBack);
  }

  // From now on these, over a new socket where another one is open.
  watch(ids) {
    this.#ids = ids;
    this.#end?.();
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const url = new URL(GRAPHQL);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, "graphql-transport-ws");
    const send = (message) => socket.send(JSON.stringify(message));
    let heard = true;
    const pinging = setInterval(() => {
      if (!heard) return lose();
      heard = false;
      if (isDoubtful()) this.onDoubt();
      if (socket.readyState === WebSocket.OPEN) send({ type: "ping" });
    }, PING_INTERVAL);
    const connecting = setTimeout(() => lose(), CONNECT_DEADLINE);

    const end = () => {
      clearInterval(pinging);
      clearTimeout(connecting);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(); // which a dead network makes slow: nobody waits for it
      this.#end = undefined;
    };
    const lose = (code) => {
      end();
      this.onLost();
      const later = code === COME_BACK_LATER ? 4 : 0;
      this.#retry = setTimeout(() => this.#comeBack(), backoff(this.#failures + later));
      this.#failures += 1;
    };
    this.#end = end;

    socket.onclose = ({ code }) => lose(code);
    socket.onopen = () => send({ type: "connection_init" });
    socket.onmessage = ({ data }) => {
      heard = true;
      const { type, payload } = JSON.parse(data);
      if (type === "connection_ack") {
        clearTimeout(connecting);
        if (isDoubtful()) this.onDoubt();
        send({ id: "stock", type: "subscribe", payload: { query: STOCK, variables: { ids: this.#ids } } });
      } else if (type === "next" && payload.data) {
        this.#failures = 0;
        this.#hear(payload.data.stockChanged);
      } else if (type === "ping") send({ type: "pong" });
      else if (type !== "pong") lose(); // the subscription has ended, by an error or otherwise
    };
  }

  async #comeBack() {
    this.#retry = undefined;
    if (this.#failures > 1) await this.onDoubt();
    if (!this.#end) this.#connect();
  }

  #hear(change) {
    if (change.version < (this.#versions.get(change.productId) ?? 0)) return;
    this.#versions.set(change.productId, change.version);
    this.onChange(change);
  }
}
