// The orders of this browser's guest: the list of a page, or the receipt of one. The server has rendered what it knew,
// and it is in the element `shown`. Held orders have a clock, and every order shows what has become of it.

import { isClockKnown, readFirst, request, soon } from "./api.js";
import { STATES, clockOf, isHeld, nodes, offerSharing, readAgain, timeLeft } from "./hold.js";
import { announce, isolated, linkTo, moment, number, price, readCookie, setText, text, times } from "./locale.js";
import { hasGuests, isKept, knownGuest } from "./purchase.js";

const READ = `query MyOrders($id: ID!, $single: Boolean!, $after: String) {
  now
  order(id: $id) @include(if: $single) { ...Whole }
  orders(first: 10, after: $after) @skip(if: $single) {
    edges { node { ...Whole } }
    pageInfo { hasNextPage endCursor }
  }
}
fragment Whole on Order {
  id reference status quantity createdAt heldUntil price { amount currency }
  product { id name dropName option images(first: 1) { url alt width height } }
}`;
const CANCEL = `mutation CancelMine($id: ID!) {
  order: cancelOrder(input: { orderId: $id }) { status heldUntil }
}`;
const RELEASE = `mutation ReleaseMine($id: ID!) {
  order: releaseOrder(orderId: $id) { status heldUntil }
}`;
const VERDICTS = {
  CONFIRMED: "answer_confirmed",
  HELD: "answer_held",
  CANCELLED: "answer_cancelled",
  LAPSED: "answer_lapsed",
};

const list = document.getElementById("orders"); // null on the page of a receipt
const receipt = document.getElementById("order");
const notice = document.getElementById("notice");
const id = list ? "" : location.pathname.split("/").pop();
const after = new URLSearchParams(location.search).get("after");
const entries = new Map(); // by the ids of their orders
let changedAt = 0; // by performance.now(): what was read before it is out of date
let ticking;

// One order on the page. Parts that only one of the two pages has are left out on the other.
class Entry {
  #sending = false;

  constructor(element) {
    this.element = element;
    this.details = this.#part(".cancel");
    this.#part("form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#sending) this.#giveBack();
    });
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #put(selector, content) {
    const part = this.#part(selector);
    if (part) setText(part, content);
  }

  show(order) {
    const before = this.order?.status;
    this.order = order;
    const { product, quantity, status, reference, createdAt } = order;
    const each = order.price && price(order.price);
    this.#put(".drop-name", product.dropName);
    this.#put(".name", product.name);
    this.#put(".option bdi", product.option ?? "");
    this.#put(".quantity", number(quantity));
    this.#put(".each", each ? `${number(quantity)} × ${each}` : number(quantity));
    this.#put(".unit-price", each ?? "");
    this.#put(".total", each ? price(times(order.price, quantity)) : "");
    for (const part of this.element.querySelectorAll(".priced")) part.hidden = !each;
    this.#put(".code", reference);
    this.#put(".order-state", text(STATES[status]));
    this.#put(".verdict", text(VERDICTS[status]));
    this.#put("time", moment(createdAt));
    this.#part("time").dateTime = createdAt;
    this.element.dataset.status = status;
    this.#link(".product", `/drop/${product.id}`);
    this.#link("a.receipt", `/orders/${order.id}`);
    this.#link(".pay", `/demo/pay/${order.id}`);
    this.#showPicture(product.images[0]);
    this.render();
    if (before && before !== status) announce([text("order_number"), isolated(reference), text(STATES[status])].join(" "));
  }

  #link(selector, path) {
    const part = this.#part(selector);
    if (part) part.href = linkTo(path);
  }

  #showPicture(image) {
    const picture = this.#part(".picture");
    picture.hidden = !image;
    if (!image || picture.getAttribute("src") === image.url) return;
    const { url: src, alt, width, height } = image;
    Object.assign(picture, { width, height, alt, src });
  }

  // Renders the clock of a held order, and what can be done with the order now.
  render() {
    const held = isHeld(this.order);
    const isOver = held && isClockKnown() && timeLeft(this.order) <= 0;
    this.#part(".held").hidden = !held;
    if (held) {
      const detail = document.body.dataset.demo === "true" ? "answer_held_detail" : "answer_held_shop";
      this.#put(".until", isOver ? text("hold_checking") : text(detail, { moment: moment(this.order.heldUntil) }));
      this.#put("[role=timer]", isClockKnown() ? clockOf(this.order) : "");
      const pay = this.#part(".pay");
      if (pay) pay.hidden = isOver;
    }
    const hadFocus = this.details.contains(document.activeElement);
    this.details.hidden = isOver || !(held || this.order.status === "CONFIRMED");
    if (this.details.hidden && hadFocus) (this.#part(".verdict") ?? this.#part(".order-state")).focus();
    this.#put("summary", text(held ? "let_go" : "cancel_order"));
    this.#put(".question", text(held ? "let_go_question" : "cancel_question"));
    this.#put("form button", text(this.#sending ? "cancelling" : "cancel_sure"));
    this.#part("form button").setAttribute("aria-disabled", String(this.#sending));
  }

  // Gives the order back. It may be sent again: its units are returned once.
  async #giveBack() {
    this.#sending = true;
    this.#put(".failed", "");
    this.render();
    try {
      const { order } = await request(isHeld(this.order) ? RELEASE : CANCEL, { id: this.order.id }, knownGuest()?.token);
      this.#sending = false;
      changedAt = performance.now();
      this.show({ ...this.order, ...order });
      if (receipt) showReceipt(this.order);
    } catch ({ code }) {
      const isRefused = ["UNAUTHENTICATED", "NOT_FOUND"].includes(code);
      this.#put(".failed", text(isRefused ? "orders_refused" : "cancel_unanswered"));
    }
    this.#sending = false;
    this.render();
    tick();
  }
}

// Renders the clocks of held orders each time a second of theirs changes.
function tick() {
  clearTimeout(ticking);
  const held = heldOrders();
  for (const order of held) entries.get(order.id).render();
  const left = held.map(timeLeft).filter((time) => time > 0);
  if (left.length > 0) ticking = setTimeout(tick, Math.min(...left.map((time) => time % 1000 || 1000)) + 5);
}

// Shows these orders and no others. An entry that is shown already stays where it is, so that it keeps the focus.
function showOrders(orders) {
  const shown = new Map(entries);
  let next = list?.firstElementChild ?? null;
  for (const order of orders) {
    const entry = shown.get(order.id) ?? new Entry(elementOf(order));
    shown.delete(order.id);
    entries.set(order.id, entry);
    entry.show(order);
    if (entry.element === next) next = next.nextElementSibling;
    else list?.insertBefore(entry.element, next);
  }
  for (const [gone, { element }] of shown) {
    entries.delete(gone);
    if (list) element.remove();
  }
  if (receipt) showReceipt(orders[0]);
  tick();
}

// The element of an order that the server has rendered, or a new one.
function elementOf(order) {
  const bought = document.getElementById("bought"); // on the page of a receipt without an order
  bought?.replaceWith(bought.content);
  if (receipt) return receipt;
  const rendered = [...list.children].find(({ dataset }) => dataset.id === order.id);
  const element = rendered ?? document.getElementById("entry").content.firstElementChild.cloneNode(true);
  element.dataset.id = order.id;
  return element;
}

function showReceipt(order) {
  receipt.classList.toggle("missing", !order);
  document.getElementById("print").hidden = !order;
  const { name, id: product } = order?.product ?? {};
  const address = new URL(`/drop/${product}`, location.href);
  offerSharing(document.getElementById("share"), order?.status === "CONFIRMED", name, address.href);
}

function say(key) {
  const message = key ? text(key) : "";
  if (message && notice.textContent !== message) announce(message);
  notice.hidden = !key;
  setText(notice, message);
}

// Reads the orders as they are now. Returns the key of the text that says why there are none, or null.
async function read() {
  const at = performance.now();
  const token = knownGuest()?.token;
  let refused = false;
  let data = {};
  try {
    if (token) data = await request(READ, { id, single: !list, after }, token);
  } catch (error) {
    if (error.code !== "UNAUTHENTICATED") throw error;
    refused = true;
  }
  if (at < changedAt) return null;
  const orders = list ? nodes(data.orders) : [data.order ?? []].flat();
  showOrders(orders);
  if (list) showMore(data.orders?.pageInfo);
  if (refused) return "orders_refused";
  if (orders.length > 0 || (list && after)) return null;
  if (!list) return "payment_missing";
  return token ? "orders_empty" : "no_orders";
}

function showMore(page) {
  const more = document.getElementById("more");
  more.parentElement.hidden = !page?.hasNextPage;
  const address = new URL(linkTo("/orders"), location.href);
  address.searchParams.set("after", page?.endCursor ?? "");
  more.href = address.pathname + address.search;
}

// Those that are held.
const heldOrders = () => [...entries.values()].map(({ order }) => order).filter(isHeld);

const nextEnd = () => Math.min(...heldOrders().map(timeLeft));
const readNow = async () => say(await read());
const followHolds = readAgain(readNow, nextEnd);
const readSoon = soon(readNow);

// While an order is held, followHolds reads.
function look() {
  if (document.visibilityState === "visible" && nextEnd() === Infinity) readSoon();
}

const rendered = readCookie("dropzero_guest"); // whose orders the server has rendered
const token = hasGuests ? knownGuest()?.token : null;
const shown = document.getElementById("shown");
if (receipt) document.getElementById("print").onclick = () => print();
else document.getElementById("browser-forgets").hidden = !hasGuests || isKept();
if (shown && token === rendered) showOrders(JSON.parse(shown.textContent));
else if (token) {
  let key = null;
  notice.hidden = notice.textContent !== text("unreachable"); // the server has not known this guest
  await readFirst(async () => (key = await read()));
  say(key);
}
if (token) {
  followHolds();
  addEventListener("online", look);
  addEventListener("pageshow", ({ persisted }) => persisted && look());
  document.addEventListener("visibilitychange", look);
}
performance.mark("interactive");
