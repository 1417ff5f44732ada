// All drops, each with its live counter: one subscription for the whole page.

import { StockWatch, ask, backoff, now, pause } from "./api.js";
import { announce, moment, number, text } from "./locale.js";

const DROPS = `query Drops {
  now
  products(first: 100) { edges { node { id name dropName stock opensAt } } }
}`;
const FEW = 10; // units left that are worth saying
const EMPTY_INTERVAL = 4000; // ms between two looks for the first drop
const LONGEST_TIMER = 2 ** 31 - 1; // ms

const cards = new Map();
const connection = document.getElementById("connection");
const notice = document.getElementById("notice");

class Card {
  constructor(product) {
    Object.assign(this, product);
    const element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    const part = (selector) => element.querySelector(selector);
    Object.assign(this, { element, units: part(".units"), label: part(".label"), state: part(".state") });
    part(".eyebrow bdi").textContent = this.dropName;
    part("h2 bdi").textContent = this.name;
    part("h2 a").href = `/drop/${this.id}`;
    this.units.style.setProperty("--digits", number(this.stock).length);
    this.live = false;
    this.awaitOpening();
  }

  awaitOpening() {
    this.render();
    if (this.opensIn() > 0) setTimeout(() => this.awaitOpening(), Math.min(this.opensIn() + 1, LONGEST_TIMER));
  }

  opensIn = () => (this.opensAt ? Date.parse(this.opensAt) - now() : 0);

  // What can be bought comes first, then what soon can.
  rank() {
    if (this.stock === 0) return 2;
    return this.opensIn() > 0 ? 1 : 0;
  }

  render() {
    const put = (element, said) => element.textContent !== said && (element.textContent = said);
    put(this.units, number(this.stock));
    put(this.label, text("units_left", { count: this.stock }));
    this.element.classList.toggle("live", this.live);
    this.element.classList.toggle("gone", this.stock === 0);
    this.element.classList.toggle("open", this.rank() === 0);
    if (this.stock === 0) put(this.state, text("sold_out"));
    else if (!this.live) put(this.state, text("last_known"));
    else if (this.opensIn() > 0) put(this.state, text("opens_at", { moment: moment(this.opensAt) }));
    else put(this.state, text("open_now"));
  }

  // A reading has no version to tell whether it is newer than what was heard live: then it does not count.
  read(stock) {
    if (!this.live) this.stock = stock;
    this.render();
  }

  hear({ stock, stale }) {
    const before = this.stock;
    this.stock = stock;
    this.live = !stale;
    this.render();
    if (before > 0 && stock === 0) announce(text("announce_sold_out", { name: this.name }));
    else if (before > FEW && stock <= FEW) announce(text("announce_left", { name: this.name, count: stock }));
  }
}

function showConnection(state) {
  connection.textContent = text(state);
  connection.classList.toggle("live", state === "live");
}

const watch = new StockWatch({
  onChange: (change) => cards.get(change.productId).hear(change),
  onState(state) {
    if (connection.textContent !== text(state)) showConnection(state);
    if (state === "live") return;
    for (const card of cards.values()) {
      card.live = false;
      card.render();
    }
  },
  onAway: () => read().catch(() => {}),
});

// A card keeps its place while the page is open, also when it is sold out: nothing moves under the reader's finger.
async function read() {
  const { products } = await ask(DROPS);
  const found = products.edges.map(({ node }) => node);
  for (const { id, stock } of found) cards.get(id)?.read(stock);
  const added = found.filter(({ id }) => !cards.has(id));
  const fresh = added.map((product) => new Card(product)).sort((one, other) => one.rank() - other.rank());
  for (const card of fresh) cards.set(card.id, card);
  document.getElementById("drops").append(...fresh.map(({ element }) => element));
  if (added.length > 0) watch.watch([...cards.keys()].slice(-100));
  connection.hidden = cards.size === 0;
  notice.hidden = cards.size > 0;
  notice.textContent = text("no_drops");
}

for (let failures = 0; cards.size === 0;) {
  try {
    await read();
    failures = 0;
    performance.mark("interactive");
    if (cards.size === 0) await pause(EMPTY_INTERVAL * (0.5 + Math.random()));
  } catch {
    notice.hidden = false;
    notice.textContent = text("unreachable");
    await pause(backoff((failures += 1)));
  }
}
