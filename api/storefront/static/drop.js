// One drop: its opening, its stock, one button, one answer, the buyer's holds and orders.

import { StockWatch, isClosed, now, readFirst, request, soon, until } from "./api.js";
import { HoldPanel, isHeld, readAgain, timeLeft, unitsOf } from "./hold.js";
import { ago, announce, announceStock, countdown, duration, isolated, moment, number, setText, text } from "./locale.js";
import {
  answerOf,
  buy,
  guest,
  isRecent,
  knownGuest,
  lastOutcome,
  lasting,
  sentForAnother,
  unanswered,
} from "./purchase.js";

const DROP = `query Drop($id: ID!, $known: Boolean!) {
  now
  product(id: $id) {
    name dropName description stock opensAt closesAt archivedAt pausedAt limitPerBuyer holdSeconds revision
  }
  orders(productId: $id, first: 20) @include(if: $known) {
    edges { node { id reference status quantity region createdAt heldUntil } }
  }
}`;
const ORDERS = `query Mine($id: ID!) {
  orders(productId: $id, first: 20) { edges { node { id reference status quantity region createdAt heldUntil } } }
}`;
const REST = 1000; // ms after an answer, in which clicks do not count: a double click is one purchase
const STATES = { CONFIRMED: "confirmed", HELD: "held", CANCELLED: "cancelled", LAPSED: "lapsed" };
const BOUGHT = { CONFIRMED: "button_confirmed", HELD: "button_held" };
// What the answer says before there is one, by the key of the sale's state.
const NO_ANSWERS = {
  not_open_yet: "answer_before",
  open_now: "answer_none",
  sold_out: "answer_gone",
  paused: "answer_paused_detail",
};
const AGE_INTERVAL = 60_000; // ms

const id = location.pathname.split("/").pop();
const parts = Object.fromEntries(
  [...document.querySelectorAll("#drop [id], #drop")].map((element) => [element.id, element]),
);
const answer = document.getElementById("answer");

// `live` is null until the first connection, and false after it was lost. `phase` is "ready", "buying" (then `waiting`
// is what the purchase waits for), "resting" or "unanswered". `ordersAt` is when the orders were as they are here.
const state = { product: null, live: null, orders: [], ordersAt: 0, phase: "ready", waiting: null, outcome: null };
const panels = new Map(); // of the held orders, by their ids
const hasGuests = document.body.dataset.guests === "true"; // on this server, buyers without an account can buy

const opensIn = () => (isClosed(state.product) ? 0 : until(state.product.opensAt));
const holds = () => state.orders.filter(isHeld).sort((one, other) => timeLeft(one) - timeLeft(other));
const limitReached = () => state.product.limitPerBuyer !== null && unitsOf(state.orders) >= state.product.limitPerBuyer;

// The key of the button's text, and whether it can be pressed.
function buttonState() {
  if (state.phase === "buying") return ["buying", false];
  if (state.phase === "unanswered") return ["check_again", true];
  if (state.phase === "resting" && state.outcome?.status in BOUGHT) return [BOUGHT[state.outcome.status], false];
  if (opensIn() > 0) return ["not_open_yet", false];
  if (saleState() !== "open_now") return [saleState(), false];
  if (!hasGuests || state.outcome?.status === "SIGN_IN") return ["sign_in", false];
  if (limitReached()) return ["limit_reached", false];
  return [state.orders.length > 0 ? "buy_another" : "buy", state.phase === "ready"];
}

// The key of the text for a drop that has opened.
function saleState() {
  if (isClosed(state.product)) return "closed";
  if (state.stock === 0) return "sold_out";
  return state.product.pausedAt ? "paused" : "open_now";
}

function render() {
  if (!state.product) return;
  setText(parts.units, number(state.stock));
  setText(parts.label, text(opensIn() > 0 ? "units_to_sell" : "units_left", { count: state.stock }));
  setText(parts.connection, text({ null: "connecting", true: "live", false: "last_known" }[state.live]));
  parts.drop.classList.toggle("live", state.live === true);
  parts.drop.classList.toggle("gone", state.stock === 0);

  const wait = opensIn();
  const { days, clock } = countdown(wait);
  setText(parts.opening, wait > 0 ? text(days ? "opens_in_days" : "opens_in", { count: days }) : text(saleState()));
  setText(parts.countdown, wait > 0 ? clock : "");

  const [label, enabled] = buttonState();
  setText(parts.buy, text(label));
  parts.buy.setAttribute("aria-disabled", String(!enabled));
  renderAnswer();
  for (const panel of panels.values()) panel.render();
}

function renderAnswer() {
  const outcome = state.phase === "buying" ? state.waiting && { status: state.waiting } : state.outcome;
  const [verdict, detail] = outcome ? answerOf(outcome) : ["", noAnswer()];
  answer.dataset.status = outcome?.status ?? "";
  setText(answer.querySelector(".verdict"), verdict);
  setText(answer.querySelector(".detail"), detail);
  const order = outcome?.status === "HELD" ? null : outcome?.order; // the panel of a hold has its reference
  answer.querySelector(".order").hidden = !order;
  setText(answer.querySelector(".order bdi"), order?.reference ?? "");
}

function noAnswer() {
  if (state.phase === "buying") return text("answer_buying");
  const sale = opensIn() > 0 ? "not_open_yet" : saleState();
  return sale === "closed" || (sale === "open_now" && limitReached()) ? "" : text(NO_ANSWERS[sale]);
}

function announceAnswer() {
  const { order } = state.outcome;
  const reference = order && `${text("order_number")} ${isolated(order.reference)}`;
  announce([...answerOf(state.outcome), reference].filter(Boolean).join(" "));
}

// Takes the orders as they were `at` a moment. What has become of an order since is the answer.
function showOrders(orders, at) {
  if (at < state.ordersAt) return;
  const known = new Map(state.orders.map(({ id, status }) => [id, status]));
  Object.assign(state, { orders, ordersAt: at });
  for (const order of orders) {
    const { id, status } = order;
    if (status === (known.get(id) ?? status)) continue;
    const letGo = status === "CANCELLED" && panels.get(id)?.tried;
    state.outcome = { status: letGo ? "RELEASED" : status, order };
    announceAnswer();
  }
  renderPanels();
  renderOrders();
  tick();
}

function renderPanels() {
  const held = new Map(holds().map((order) => [order.id, order]));
  for (const [id, { element }] of panels) {
    if (held.has(id)) continue;
    const hadFocus = element.contains(document.activeElement);
    element.remove();
    panels.delete(id);
    if (hadFocus) answer.focus();
  }
  for (const [id, order] of held) {
    if (panels.has(id)) continue;
    const panel = new HoldPanel(order, showOrder);
    panels.set(id, panel);
    parts.holds.append(panel.element);
    followHolds();
  }
}

// Puts an order that was just answered into its place in the list, or before all others.
function showOrder(order) {
  const index = state.orders.findIndex(({ id }) => id === order.id);
  showOrders(index < 0 ? [order, ...state.orders] : state.orders.with(index, order), performance.now());
}

function renderOrders() {
  parts["no-orders"].hidden = state.orders.length > 0;
  parts["browser-forgets"].hidden = lasting.isLasting;
  const template = document.getElementById("order").content;
  parts.orders.replaceChildren(
    ...state.orders.map((order) => {
      const item = template.cloneNode(true);
      const put = (selector, content) => (item.querySelector(selector).textContent = content);
      put("strong", text("units", { count: order.quantity }));
      item.querySelector("li").dataset.status = order.status;
      put(".order-state", text(STATES[order.status]));
      put(".order-id bdi", order.reference);
      put(".order-facts bdi", order.region);
      put("time", ago(now() - Date.parse(order.createdAt), AGE_INTERVAL));
      const { createdAt: dateTime } = order;
      Object.assign(item.querySelector("time"), { dateTime, title: moment(dateTime) });
      return item;
    }),
  );
}

async function purchase() {
  state.phase = "buying";
  state.waiting = null;
  render();
  state.outcome = await buy(id, (waiting) => {
    if (state.waiting !== waiting) announce(answerOf({ status: waiting })[0]);
    state.waiting = waiting;
    render();
  });
  if (state.outcome.order?.status === "LAPSED") state.outcome.status = "LAPSED";
  state.phase = state.outcome.status === "UNANSWERED" ? "unanswered" : "resting";
  const { status, order, opensAt } = state.outcome;
  announceAnswer();
  if (order) showOrder(order);
  render();
  if (state.phase === "resting") {
    setTimeout(() => {
      state.phase = "ready";
      render();
    }, REST);
  }
  if (status === "NOT_OPEN") {
    state.product.opensAt = opensAt;
    tick();
  }
  if (["LIMIT_REACHED", "PAUSED", "CLOSED"].includes(status)) await read().catch(() => {});
}

function showLive({ stock, stale, revision }) {
  const before = state.stock;
  state.stock = stock;
  state.live = !stale;
  render();
  if (revision > state.product.revision) readSoon();
  announceStock(state.product.name, before, stock);
}

// Renders the countdown and the clocks of holds each time a second of theirs changes, and once more at their ends.
function tick() {
  clearTimeout(state.ticking);
  const wait = opensIn();
  render();
  const closes = Math.min(until(state.product.closesAt), AGE_INTERVAL);
  const changes = [wait, ...holds().map(timeLeft)].filter((left) => left > 0).map((left) => left % 1000 || 1000);
  if (closes > 0) changes.push(closes);
  if (changes.length > 0) state.ticking = setTimeout(tick, Math.min(...changes) + 5);
  if (state.opening && wait <= 0) announce(text("announce_open", { name: state.product.name }));
  state.opening = wait > 0;
}

// Reads the buyer's orders while one of them is held.
const followHolds = readAgain(
  async () => {
    const at = performance.now();
    const { orders } = await request(ORDERS, { id }, knownGuest()?.token);
    showOrders(nodes(orders), at);
  },
  () => Math.min(...holds().map(timeLeft)),
);

const nodes = (connection) => (connection?.edges ?? []).map(({ node }) => node);

// The drop, and the orders of this browser's guest. A guest that the server does not accept any more has none.
async function requestDrop() {
  const token = hasGuests ? knownGuest()?.token : null;
  try {
    if (token) return await request(DROP, { id, known: true }, token);
  } catch (error) {
    if (error.code !== "UNAUTHENTICATED") throw error;
  }
  return request(DROP, { id, known: false });
}

// Reads the drop and the buyer's orders. Throws an error with the code NOT_FOUND when the drop does not exist.
async function read() {
  const at = performance.now();
  const { product, orders } = await requestDrop();
  if (product === null) throw Object.assign(new Error(), { code: "NOT_FOUND" });
  if (!state.live) state.stock = product.stock;
  if (!(product.revision <= state.product?.revision)) showProduct(product);
  showOrders(nodes(orders), at);
}

// Reads a product that an operator has changed.
const readSoon = soon(async () => {
  const before = saleState();
  await read();
  if (saleState() !== before) announce(text(saleState()));
});

function showProduct(product) {
  state.product = product;
  document.title = `${product.name} · DROPZERO`;
  setText(parts["drop-name"], product.dropName);
  setText(parts.name, product.name);
  setText(parts.description, product.description ?? "");
  parts.opens.hidden = opensIn() <= 0;
  if (product.opensAt) setText(parts.opens, text("opens_at", { moment: moment(product.opensAt) }));
  parts.closes.hidden = !product.closesAt;
  const at = { moment: product.closesAt && moment(product.closesAt) };
  setText(parts.closes, text(isClosed(product) ? "closed_at" : "closes_at", at));
  const count = product.limitPerBuyer;
  setText(parts.limit, count === null ? text("no_limit") : text("limit", { count }));
  const seconds = product.holdSeconds;
  parts["hold-time"].hidden = !seconds;
  if (seconds) setText(parts["hold-time"], text("hold_time", { time: duration(seconds) }));
  parts.drop.classList.toggle("with-holds", Boolean(seconds));
  parts.units.style.setProperty("--digits", number(product.stock).length);
  parts.drop.setAttribute("aria-busy", "false");
}

// A key that is held down clicks once.
parts.buy.addEventListener("keydown", (event) => {
  if (event.repeat) event.preventDefault();
});
// A button with aria-disabled keeps the focus, and still gets clicks.
parts.buy.addEventListener("click", () => {
  if (parts.buy.getAttribute("aria-disabled") === "false") purchase();
});

// The last outcome in this tab, with what has become of its order since. A hold is shown before it.
function outcomeNow(outcome) {
  const order = outcome?.order && state.orders.find(({ id }) => id === outcome.order.id);
  const [held] = holds();
  if (held && held.id !== order?.id && outcome?.status !== "UNKNOWN") return { status: "HELD", order: held };
  if (!order) return outcome?.status === "HELD" ? null : outcome;
  return order.status === outcome.order.status ? outcome : { status: order.status, order };
}

await readFirst(read, "no_such_drop");
if (state.product) {
  const pending = unanswered(id);
  state.outcome = outcomeNow(lastOutcome(id));
  if (!hasGuests) state.outcome = sentForAnother(id, null) ?? { status: "SIGN_IN" };
  else if (pending && isRecent(pending)) purchase();
  else if (pending) Object.assign(state, { phase: "unanswered", outcome: { status: "UNANSWERED" } });
  render();
  // A buyer who waits for the opening gets a token before it, so that the click sends nothing but the purchase.
  if (hasGuests && opensIn() > 0) guest().catch(() => {});
  const onLost = () => {
    state.live = false;
    render();
  };
  new StockWatch({ onChange: showLive, onLost, onMissed: read }).watch([id]);
  setInterval(renderOrders, AGE_INTERVAL);
  performance.mark("interactive");
} else {
  parts.drop.classList.add("missing");
  parts.drop.setAttribute("aria-busy", "false");
  setText(parts.name, text("missing_heading"));
}
