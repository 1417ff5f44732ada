// All drops, each with its live counter: one subscription for the whole page.

import { StockWatch, backoff, isClosed, pause, readFirst, request, soon, until } from "./api.js";
import { announceStock, linkTo, moment, number, setText, text } from "./locale.js";

const DROPS = `query Drops {
  now
  products(first: 100) { edges { node { id name dropName stock opensAt closesAt pausedAt revision } } }
}`;
const LONGEST_TIMER = 2 ** 31 - 1; // ms

const cards = new Map();
const connection = document.getElementById("connection");

class Card {
  constructor(product) {
    Object.assign(this, product);
    const element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    const part = (selector) => element.querySelector(selector);
    Object.assign(this, { element, units: part(".units"), label: part(".label"), state: part(".state") });
    this.showName();
    part("h2 a").href = linkTo(`/drop/${this.id}`);
    this.units.style.setProperty("--digits", number(this.stock).length);
    this.live = null; // null until the first connection, false after it was lost
    this.awaitOpening();
  }

  // Renders the card now, and again when the drop opens or closes.
  awaitOpening() {
    clearTimeout(this.opening);
    this.render();
    const waits = [until(this.opensAt), until(this.closesAt)].filter((wait) => wait > 0);
    if (waits.length > 0) this.opening = setTimeout(() => this.awaitOpening(), Math.min(...waits, LONGEST_TIMER) + 1);
  }

  isBefore() {
    return !isClosed(this) && until(this.opensAt) > 0;
  }

  // The order of the cards: open, then not open yet or paused, then sold out or closed.
  rank() {
    if (this.stock === 0 || isClosed(this)) return 2;
    return this.isBefore() || this.pausedAt ? 1 : 0;
  }

  render() {
    setText(this.units, number(this.stock));
    setText(this.label, text(this.isBefore() ? "units_to_sell" : "units_left", { count: this.stock }));
    this.element.classList.toggle("live", this.live === true);
    this.element.classList.toggle("gone", this.rank() === 2);
    this.element.classList.toggle("open", this.rank() === 0);
    if (isClosed(this)) setText(this.state, text("closed"));
    else if (this.stock === 0) setText(this.state, text("sold_out"));
    else if (this.live === false) setText(this.state, text("last_known"));
    else if (this.pausedAt) setText(this.state, text("paused"));
    else if (this.isBefore()) setText(this.state, text("opens_at", { moment: moment(this.opensAt) }));
    else setText(this.state, text("open_now"));
  }

  // A stock that was read may be older than a live one: then it does not count.
  showRead(product) {
    const stock = this.live ? this.stock : product.stock;
    Object.assign(this, product, { stock });
    this.showName();
    this.awaitOpening();
  }

  showName() {
    setText(this.element.querySelector(".eyebrow bdi"), this.dropName);
    setText(this.element.querySelector("h2 bdi"), this.name);
  }

  showLive({ stock, stale, revision }) {
    const before = this.stock;
    this.stock = stock;
    this.live = !stale;
    this.render();
    if (revision > this.revision) readSoon();
    announceStock(this.name, before, stock);
  }
}

const readSoon = soon(() => read()); // after an operator has changed a drop

function showConnection(live) {
  setText(connection, text(live ? "live" : "reconnecting"));
  connection.classList.toggle("live", live);
}

const watch = new StockWatch({
  onChange(change) {
    cards.get(change.productId)?.showLive(change);
    showConnection(!change.stale);
  },
  onLost() {
    showConnection(false);
    for (const card of cards.values()) {
      card.live = false;
      card.render();
    }
  },
  onMissed: () => read(),
});

// Reads all drops. A card keeps its place while the page is open, also when it is sold out: nothing moves under the
// reader's finger. The card of a drop that no longer exists is removed: a subscription with its id would fail for all.
async function read() {
  const { products } = await request(DROPS);
  const found = products.edges.map(({ node }) => node);
  const gone = [...cards.values()].filter(({ id }) => !found.some((product) => product.id === id));
  for (const { id, element } of gone) {
    cards.delete(id);
    element.remove();
  }
  for (const product of found) cards.get(product.id)?.showRead(product);
  const added = found.filter(({ id }) => !cards.has(id));
  const fresh = added.map((product) => new Card(product)).sort((one, other) => one.rank() - other.rank());
  for (const card of fresh) cards.set(card.id, card);
  document.getElementById("drops").append(...fresh.map(({ element }) => element));
  if (cards.size > 0 && added.length + gone.length > 0) watch.watch([...cards.keys()]);
  connection.hidden = cards.size === 0;
  document.getElementById("no-drops").hidden = cards.size > 0;
}

for (let looks = 0; cards.size === 0; looks += 1) {
  if (looks > 0) await pause(backoff(looks));
  await readFirst(read);
  performance.mark("interactive");
}
