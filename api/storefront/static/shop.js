// The list of drops. The server has rendered it. This keeps the stock and the states live, and shows what is new.

import { StockWatch, Subscription, isClosed, readFirst, request, soon, until } from "./api.js";
import { announce, announceStock, moment, number, setText, text } from "./locale.js";

const PRODUCTS = `query Drops($ids: [ID!]!) {
  now
  productsByIds(ids: $ids) { id stock opensAt closesAt pausedAt archivedAt revision }
  products(first: 1) { nodes { id } }
}`;
const NEWS = `subscription News {
  productsChanged { id stock opensAt closesAt pausedAt archivedAt revision }
}`;
const STATES = ["open_now", "paused", "coming", "sold_out", "closed"]; // a card has the first that its products have
const SECTIONS = { open_now: "on_sale", paused: "on_sale", coming: "coming" }; // of a state; else gone
const LONGEST_TIMER = 2 ** 31 - 1; // ms
const DEADLINE = 20_000; // ms for the page
const CHECK_PAUSE = 5000; // ms until an empty list is loaded again: a drop can have come before the subscription
const SELDOM = 30_000; // ms between two looks for new drops without a subscription

const drops = document.getElementById("drops");
const connection = document.getElementById("connection");
const newDrops = document.getElementById("new-drops");
const cards = new Map(); // by the ids of their products
let fresh; // the page as it would be if it were loaded now, when it has cards that this one lacks

function stateOf(product) {
  if (isClosed(product)) return "closed";
  if (until(product.opensAt) > 0) return "coming";
  if (product.stock === 0) return "sold_out";
  return product.pausedAt ? "paused" : "open_now";
}

class Card {
  constructor(element) {
    const part = (selector) => element.querySelector(selector);
    Object.assign(this, { element, units: part(".units"), label: part(".label"), state: part(".state") });
    this.name = part("a").textContent;
    this.products = new Map(JSON.parse(element.dataset.products).map((product) => [product.id, product]));
    this.live = null; // null until the first change, false after the connection was lost
    this.awaitOpening();
  }

  // Renders the card now, and again when one of its products opens or closes.
  awaitOpening() {
    clearTimeout(this.opening);
    this.render();
    const moments = [...this.products.values()].flatMap(({ opensAt, closesAt }) => [until(opensAt), until(closesAt)]);
    const waits = moments.filter((wait) => wait > 0);
    if (waits.length > 0) this.opening = setTimeout(() => this.awaitOpening(), Math.min(...waits, LONGEST_TIMER) + 1);
  }

  end() {
    clearTimeout(this.opening);
  }

  stock() {
    return [...this.products.values()].reduce((sum, { stock }) => sum + stock, 0);
  }

  render() {
    const products = [...this.products.values()];
    const state = STATES[Math.min(...products.map((product) => STATES.indexOf(stateOf(product))))];
    const section = SECTIONS[state] ?? "gone";
    const stock = this.stock();
    const { classList } = this.element;
    for (const name of ["on_sale", "coming", "gone"]) classList.toggle(name, name === section);
    classList.toggle("open", state === "open_now");
    classList.toggle("live", this.live === true);
    classList.toggle("stale", this.live === false);
    setText(this.units, number(stock));
    const label = section === "coming" ? "units_to_sell" : "units_left";
    setText(this.label, section === "gone" ? "" : text(label, { count: stock }));
    const opensAt = products.map((product) => product.opensAt).sort((one, other) => until(one) - until(other))[0];
    // What is known for certain stays while the connection is lost: when a drop opens.
    if (section === "coming") setText(this.state, text("opens_at", { moment: moment(opensAt) }));
    else setText(this.state, text(section === "on_sale" && this.live === false ? "last_known" : state));
  }

  // A stock that was read may be older than a live one: then it does not count. The card keeps the revision that the
  // server has rendered, until it is replaced.
  showRead(product) {
    const { stock, revision } = this.products.get(product.id);
    this.products.set(product.id, { ...product, stock: this.live ? stock : product.stock, revision });
    this.awaitOpening();
    if (product.revision > revision && !product.archivedAt) renewSoon();
  }

  showLive({ productId, stock, stale }) {
    const product = this.products.get(productId);
    const before = this.stock();
    product.stock = stock;
    this.live = !stale;
    this.render();
    announceStock(this.name, before, this.stock());
  }
}

function showConnection(state) {
  const lost = state === "reconnecting" && connection.textContent === text("live");
  const again = state === "live" && connection.textContent === text("reconnecting");
  setText(connection, text(state));
  connection.classList.toggle("live", state === "live");
  if (lost || again) announce(text(state));
}

let isChecked = false; // whether the page has read what changed between its rendering and its subscription

// Shows the state of the connection, on the page and on all cards; see `live` of a card.
function show(state, live) {
  showConnection(state);
  for (const card of cards.values()) {
    card.live = live;
    card.render();
  }
}

const watch = new StockWatch({
  onChange(change) {
    if (!isChecked) checkOnce();
    cards.get(change.productId)?.showLive(change);
    showConnection(change.stale ? "reconnecting" : "live");
  },
  onLost: () => show("reconnecting", false),
  onMissed: () => read(),
  onPolled: () => show("polled", null),
  also: NEWS,
  onOther: showNews,
});

// Shows what an operator has created or changed.
function showNews({ productsChanged: product }) {
  if (cards.has(product.id)) cards.get(product.id).showRead(product);
  else if (!product.archivedAt) renewSoon();
}

// Takes the cards that are in the page now.
function takeCards() {
  for (const card of cards.values()) card.end();
  cards.clear();
  for (const element of drops.querySelectorAll(".card")) {
    const card = new Card(element);
    for (const id of card.products.keys()) cards.set(id, card);
  }
  connection.hidden = cards.size === 0;
  if (cards.size > 0) watch.watch([...cards.keys()]);
}

function checkOnce() {
  isChecked = true;
  read().catch(() => (isChecked = false));
}

// Reads the products of the page, and whether there is a newer one. The sale of a product that no longer exists has
// ended, and it is not watched any more: a subscription with its id would fail for all.
async function read() {
  const { productsByIds, products } = await request(PRODUCTS, { ids: [...cards.keys()] });
  const found = new Map(productsByIds.filter(Boolean).map((product) => [product.id, product]));
  const watched = cards.size;
  for (const [id, card] of [...cards]) {
    if (found.has(id)) card.showRead(found.get(id));
    else {
      Object.assign(card.products.get(id), { stock: 0, archivedAt: true });
      card.render();
      cards.delete(id);
    }
  }
  if (cards.size > 0 && cards.size < watched) watch.watch([...cards.keys()]);
  if (products.nodes.some(({ id }) => !cards.has(id))) renewSoon();
}

// The page as the server renders it now.
function loadPage() {
  return new Promise((resolve, reject) => {
    const loading = new XMLHttpRequest();
    loading.responseType = "document";
    loading.timeout = DEADLINE;
    loading.onload = () => (loading.status === 200 ? resolve(loading.responseXML) : reject(new Error("no page")));
    loading.onerror = loading.ontimeout = () => reject(new Error("no answer"));
    loading.open("GET", location.href);
    loading.send();
  });
}

// Replaces the card of the same products, if it shows other values of them.
function renewCard(element) {
  const card = new Card(element);
  const old = cards.get([...card.products.keys()].find((id) => cards.has(id)));
  const isSame = ({ id, revision }) => old.products.get(id)?.revision === revision;
  if (card.products.size === old.products.size && [...card.products.values()].every(isSame)) return card.end();
  card.live = old.live;
  if (old.live) for (const [id, { stock }] of old.products) Object.assign(card.products.get(id) ?? {}, { stock });
  const hadFocus = old.element.contains(document.activeElement);
  old.end();
  old.element.replaceWith(element);
  card.awaitOpening();
  if (hadFocus) element.querySelector("a").focus();
  for (const id of old.products.keys()) cards.delete(id);
  for (const id of card.products.keys()) cards.set(id, card);
}

// Loads the page again. A card that has changed is replaced in its place. New cards wait until the reader wants to see
// them: nothing moves under the reader's finger.
async function renew() {
  const page = await loadPage();
  const elements = [...page.querySelectorAll(".card")];
  const added = elements.filter((element) => !JSON.parse(element.dataset.products).some(({ id }) => cards.has(id)));
  if (cards.size === 0) return showPage(page);
  const watched = [...cards.keys()].sort().join();
  for (const element of elements) {
    if (!added.includes(element)) renewCard(element);
  }
  const ids = [...cards.keys()];
  if (ids.sort().join() !== watched) watch.watch(ids);
  const count = added.length;
  if (count > 0 && newDrops.hidden) announce(text("new_drops", { count }));
  setText(newDrops, text("new_drops", { count }));
  newDrops.hidden = count === 0;
  fresh = page;
}

function showPage(page) {
  drops.replaceChildren(...page.getElementById("drops").childNodes);
  newDrops.hidden = true;
  takeCards();
}

const renewSoon = soon(renew); // after an operator has changed a product

newDrops.addEventListener("click", () => {
  showPage(fresh);
  drops.focus();
});

setText(connection, text("connecting"));
takeCards();
performance.mark("interactive");
if (cards.size === 0) {
  new Subscription(NEWS, { onData: showNews, onLost() {}, onMissed: renew }).start();
  setTimeout(renewSoon, CHECK_PAUSE);
}
// Where websockets are blocked, no news comes.
setInterval(() => watch.hasSocket || document.visibilityState === "hidden" || renewSoon(), SELDOM);
if (drops.childElementCount === 0) await readFirst(renew); // the server had no answer from the database
