// The page buyers see: every product with its live stock, and one button that buys one.

const PRODUCTS = "{ products(first: 100) { edges { node { id name dropName stock opensAt } } } }";
const STOCK = `subscription ($ids: [ID!]!) {
  stockChanged(productIds: $ids) { productId stock version stale }
}`;
const PURCHASE = `mutation ($input: PurchaseInput!) {
  purchase(input: $input) {
    status message
    ... on PurchaseConfirmed { order { id } replayed }
    ... on PurchaseBusy { retryAfterMs }
  }
}`;
const PING_INTERVAL = 20_000; // ms
// A purchase refused with one of these can never work; any other error leaves open what became of it.
const FINAL_CODES = ["BAD_USER_INPUT", "NOT_FOUND", "IDEMPOTENCY_KEY_REUSED"];

const address = new URL("graphql", location.href);
const cards = new Map();
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// crypto.randomUUID would need https, and a laptop on the local network has none.
const randomName = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");

function remembered(name) {
  if (!localStorage.getItem(name)) localStorage.setItem(name, randomName());
  return localStorage.getItem(name);
}

async function ask(query, variables) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(address, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  const { data, errors } = await response.json();
  if (errors) throw Object.assign(new Error(errors[0].message), { code: errors[0].extensions?.code });
  return data;
}

class Card {
  constructor(product) {
    this.id = product.id;
    this.version = 0;
    this.element = document.getElementById("product").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    [this.units, this.left, this.button, this.answer] = [".stock strong", ".stock span", "button", "output"].map(part);
    part(".drop").textContent = product.dropName;
    part("h2").textContent = product.name;
    if (new Date(product.opensAt ?? 0) > Date.now()) {
      part(".opens").textContent = `Opens ${new Date(product.opensAt).toLocaleString()}`;
      part(".opens").hidden = false;
    }
    this.button.addEventListener("click", () => this.buy());
    this.show({ stock: product.stock, version: 0, stale: false });
  }

  show({ stock, version, stale }) {
    if (version < this.version) return; // versions only rise, whichever connection brings them
    Object.assign(this, { version, stock });
    this.units.textContent = stock.toLocaleString("en");
    this.left.textContent = stale ? "left when last heard of" : "left";
    this.element.classList.toggle("stale", stale);
    this.offer();
  }

  offer() {
    this.button.disabled = this.buying || this.stock === 0;
    this.button.textContent = this.buying ? "Buying" : this.stock === 0 ? "Sold out" : "Buy";
  }

  // One key per click, kept until its answer is known: a click that repeats it can never buy a second one.
  async buy() {
    const kept = `dropzero.key.${this.id}`;
    this.buying = true;
    this.answer.textContent = "";
    this.offer();
    try {
      const input = { productId: this.id, userRef: remembered("dropzero.buyer"), idempotencyKey: remembered(kept) };
      const { purchase } = await ask(PURCHASE, { input });
      this.answer.textContent = purchase.message;
      if (purchase.status === "CONFIRMED") this.answer.textContent += ` Your order is ${purchase.order.id}.`;
      if (purchase.status === "BUSY") await pause(purchase.retryAfterMs);
      else localStorage.removeItem(kept);
    } catch (error) {
      const final = FINAL_CODES.includes(error.code);
      if (final) localStorage.removeItem(kept);
      const reason = error.code ? error.message : "The shop did not answer.";
      this.answer.textContent = final ? reason : `${reason} Press Buy again to find out: you will not get two.`;
    }
    this.buying = false;
    this.offer();
  }
}

function showProducts(products) {
  for (const product of products) if (!cards.has(product.id)) cards.set(product.id, new Card(product));
  document.getElementById("products").replaceChildren(...products.map(({ id }) => cards.get(id).element));
  document.getElementById("empty").hidden = products.length > 0;
}

function showConnection(live, text) {
  const connection = document.getElementById("connection");
  connection.classList.toggle("live", live);
  if (connection.textContent !== text) connection.textContent = text;
}

// Watches until the connection ends; `onChange` hears every change.
function watch(ids, onChange) {
  const url = new URL(address);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url, "graphql-transport-ws");
  const send = (message) => socket.send(JSON.stringify(message));
  return new Promise((resolve) => {
    let heard = true;
    const end = () => {
      clearInterval(pinging);
      socket.onmessage = null;
      socket.close(); // which a dead network makes slow
      resolve();
    };
    const pinging = setInterval(() => {
      if (socket.readyState !== WebSocket.OPEN || !heard) return end();
      heard = false;
      send({ type: "ping" });
    }, PING_INTERVAL);
    socket.onclose = end;
    socket.onopen = () => send({ type: "connection_init" });
    socket.onmessage = ({ data }) => {
      heard = true;
      const { type, payload } = JSON.parse(data);
      const subscription = { id: "stock", type: "subscribe", payload: { query: STOCK, variables: { ids } } };
      if (type === "connection_ack") send(subscription);
      else if (type === "next" && payload.data) onChange(payload.data.stockChanged);
      else if (type === "ping") send({ type: "pong" });
      else if (type !== "pong") end();
    };
  });
}

for (let failures = 0; ; failures += 1) {
  const onChange = (change) => {
    failures = 0;
    showConnection(true, "Live");
    cards.get(change.productId).show(change);
  };
  try {
    const products = (await ask(PRODUCTS)).products.edges.map(({ node }) => node);
    showProducts(products);
    if (products.length === 0) showConnection(true, "Live");
    else await watch(products.map(({ id }) => id), onChange);
    if (products.length > 0) showConnection(false, "Reconnecting");
  } catch {
    showConnection(false, "The shop cannot be reached; trying again");
  }
  for (const card of cards.values()) card.show({ ...card, stale: true });
  // Jitter: the pages of one server do not all come back to it in the same moment.
  await pause(500 + Math.random() * Math.min(10_000, 500 * 2 ** failures));
}
