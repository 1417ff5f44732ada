// One drop: its opening, its stock, the form to buy, one answer, the buyer's holds and orders. The server has rendered the
// page, and what it knew is in the element `product`.

import { StockWatch, isClockKnown, isClosed, readFirst, request, soon, until } from "./api.js";
import { OwnOrders, nodes, showWon, timeLeft, unitsOf } from "./hold.js";
import { announce, announceStock, countdown, duration, isolated, language, moment, number } from "./locale.js";
import { price, rollText, setText, showClock, text, times } from "./locale.js";
import { NO_ANSWERS, announceOutcome, answerOf, buy, guest, hasGuests, isRecent, knownGuest } from "./purchase.js";
import { lastOutcome, requestAsGuest, sentForAnother, unanswered } from "./purchase.js";

const DROP = `query Drop($id: ID!, $language: String, $known: Boolean!) {
  now
  product(id: $id) {
    name dropName description(language: $language) stock stocked version opensAt closesAt archivedAt pausedAt
    limitPerBuyer holdSeconds revision createdAt option price { amount currency }
  }
  orders(productId: $id, first: 20) @include(if: $known) {
    edges { node { id reference status quantity heldUntil } }
  }
}`;
const REST = 1000; // ms after an answer, in which clicks do not count: a double click is one purchase
const BOUGHT = { CONFIRMED: "button_confirmed", HELD: "button_held" };
const FEW = 10; // units; a stock that falls this low is shown as the last ones
const LAST_MINUTE = 60_000; // ms
const LONGEST_TICK = 60_000; // ms
const LAST_SECONDS = 10_000; // ms
const id = location.pathname.split("/").pop();
const parts = Object.fromEntries(
  [...document.querySelectorAll("#drop [id], #drop")].map((element) => [element.id, element]),
);
const { answer, buy: button, form, quantity } = parts;
const options = [...document.querySelectorAll(".options a")];
const [barUnits, barLabel, barButton] = ["bdi", ".label", "button"].map((part) => parts.bar.querySelector(part));

// `live` is null until the first connection, "polled" where the stock is read again and again, and false when the
// connection is lost. `phase` is "ready", "buying" (then `waiting` is what the purchase waits for, since `since`), "resting"
// or "unanswered".
const state = { product: null, live: null, phase: "ready", waiting: null, outcome: null };
const orders = new OwnOrders(id, {
  onChange(order, status) {
    state.outcome = { status, order };
    announceOutcome(state.outcome);
  },
  onShown: () => tick(),
});

// Until the clock was read, the server's word counts.
const isBefore = parts.drop.classList.contains("before");
const opensIn = () => (isClosed(state.product) || (!isBefore && !isClockKnown()) ? 0 : until(state.product.opensAt));
const limitLeft = () => (state.product.limitPerBuyer ?? Infinity) - unitsOf(orders.all);
const most = () => Math.max(1, Math.min(limitLeft(), state.stock));
const wanted = () => Math.min(most(), Math.max(1, Math.floor(quantity.valueAsNumber) || 1));

// The key of the text for a drop that has opened.
function saleState() {
  if (state.isGone || isClosed(state.product)) return "closed";
  if (state.stock === 0) return "sold_out";
  return state.product.pausedAt ? "paused" : "open_now";
}

// The text of the button, and whether it can be pressed.
function buttonState() {
  if (state.phase === "buying") return [text("buying"), false];
  if (state.phase === "unanswered") return [text("check_again"), true];
  if (state.phase === "resting" && state.outcome?.status in BOUGHT) return [text(BOUGHT[state.outcome.status]), false];
  if (!state.isGone && opensIn() > 0) return [text("not_open_yet"), false];
  if (saleState() !== "open_now") return [text(saleState()), false];
  if (!hasGuests || state.outcome?.status === "SIGN_IN") return [text("sign_in"), false];
  if (limitLeft() <= 0) return [text("limit_reached"), false];
  return [buyText(wanted()), state.phase === "ready"];
}

function buyText(count) {
  if (state.product.price) return text("buy_for", { price: price(times(state.product.price, count)) });
  if (count > 1) return text("buy_units", { count });
  return text(orders.all.length > 0 ? "buy_another" : "buy");
}

function connectionText() {
  if (state.isGone) return "";
  if (state.live === false && !navigator.onLine) return text("offline");
  return text({ null: "connecting", true: "live", polled: "polled", false: "last_known" }[state.live]);
}

function render() {
  if (!state.product) return;
  const wait = state.isGone ? 0 : opensIn();
  const isOpen = wait <= 0 && saleState() === "open_now";
  rollText(parts.units, number(state.stock));
  const isLow = isOpen && state.stock <= FEW; // then the line below the figure says it
  const units = wait > 0 ? "units_to_sell" : "units_left";
  setText(parts.label, isLow ? "" : text(units, { count: state.stock }));
  setText(parts.connection, connectionText());
  parts.drop.classList.toggle("live", state.live === true || state.live === "polled");
  parts.drop.classList.toggle("gone", state.stock === 0 || state.isGone === true);
  parts.drop.classList.toggle("low", isLow);
  parts.drop.classList.toggle("before", wait > 0);
  renderWait(wait, isOpen);
  renderButton(isOpen);
  renderAnswer();
  orders.render();
}

// The countdown, or what is going on in the sale where the button does not say it.
function renderWait(wait, isOpen) {
  const { days, clock } = countdown(wait);
  const lately = state.live === true ? watch.fellLately(id) : 0;
  const going = isOpen ? [lately && text("gone_lately", { count: lately }), state.stock <= FEW ? text("only_left", { count: state.stock }) : ""] : [];
  if (wait > 0) setText(parts.opening, text(days ? "opens_in_days" : "opens_in", { count: days }));
  setText(parts.going, wait > 0 ? text("units", { count: state.stock }) : going.filter(Boolean).join(" · "));
  showClock(parts.countdown, wait > 0 ? clock : "");
  parts.countdown.hidden = wait <= 0;
  parts.drop.classList.toggle("last-minute", wait > 0 && wait <= LAST_MINUTE);
  parts.drop.classList.toggle("last-seconds", wait > 0 && wait <= LAST_SECONDS);
  parts.opens.hidden = wait <= 0;
  const { stocked } = state.product;
  parts.sold.hidden = wait > 0 || stocked === 0;
  // After units came back, how many were put in is not known until it has been read.
  if (state.stock > state.soldAt || state.stock > stocked) return;
  state.soldAt = state.stock;
  const gone = stocked - state.stock;
  Object.assign(parts.sold.querySelector("progress"), { max: stocked || 1, value: gone });
  setText(parts.sold.querySelector("span"), text("gone_of", { gone, stocked }));
}

function renderButton(isOpen) {
  const [label, isEnabled] = buttonState();
  for (const each of [button, barButton]) {
    setText(each, label);
    each.setAttribute("aria-disabled", String(!isEnabled));
  }
  setText(barUnits, number(state.stock));
  setText(barLabel, text(opensIn() > 0 ? "units_to_sell" : "units_left", { count: state.stock }));
  quantity.max = String(most());
  parts.stepper.hidden = !hasGuests || state.product.limitPerBuyer === 1;
  parts.fewer.disabled = wanted() <= 1;
  parts.more.disabled = !isOpen || wanted() >= most();
}

function renderAnswer() {
  const outcome = state.phase === "buying" ? state.waiting && { status: state.waiting } : state.outcome;
  const [verdict, detail] = outcome ? answerOf(outcome) : ["", noAnswer()];
  answer.dataset.status = outcome?.status ?? (state.phase === "buying" ? "BUYING" : "");
  setText(answer.querySelector(".verdict"), verdict);
  setText(answer.querySelector(".detail"), [detail, elapsed()].filter(Boolean).join(" "));
  const order = outcome?.status === "HELD" ? null : outcome?.order; // the panel of a hold has its reference
  showWon(order, outcome?.status, state.product);
}

function noAnswer() {
  if (state.isGone) return text("answer_refused_not_found");
  if (state.phase === "buying") return text("answer_buying");
  const sale = opensIn() > 0 ? "not_open_yet" : saleState();
  return NO_ANSWERS[sale] ? text(NO_ANSWERS[sale]) : "";
}

// How long the purchase takes, once that is long.
function elapsed() {
  const count = state.phase === "buying" ? Math.floor((performance.now() - state.since) / 1000) : 0;
  return count > 1 ? text("seconds_so_far", { count }) : "";
}

async function purchase() {
  Object.assign(state, { phase: "buying", waiting: null, since: performance.now() });
  tick();
  state.outcome = await buy(id, wanted(), (waiting) => {
    if (state.waiting !== waiting) announce(answerOf({ status: waiting })[0]);
    state.waiting = waiting;
    render();
  });
  if (state.outcome.order?.status === "LAPSED") state.outcome.status = "LAPSED";
  state.phase = state.outcome.status === "UNANSWERED" ? "unanswered" : "resting";
  const { status, order, opensAt, code } = state.outcome;
  quantity.value = "1";
  announceOutcome(state.outcome);
  if (order?.product) takeLevel(order.product);
  if (order) orders.put(order);
  if (status === "NOT_OPEN") state.product.opensAt = opensAt;
  tick();
  if (state.phase === "resting") {
    setTimeout(() => {
      state.phase = "ready";
      render();
    }, REST);
  }
  if (["LIMIT_REACHED", "PAUSED", "CLOSED"].includes(status) || code === "NOT_FOUND") await read().catch(showIfGone);
}

// Takes the stock at a version, unless a later one is known.
function takeLevel({ stock, stocked, version }) {
  if (version < state.version) return;
  watch.learn(id, version);
  Object.assign(state, { stock, version });
  if (stocked !== undefined) Object.assign(state.product, { stocked });
  if (stocked !== undefined) state.soldAt = Infinity;
}

function showLive({ productId, stock, version, stale, revision }) {
  if (productId !== id) return showOption(productId, stock);
  const before = state.stock;
  Object.assign(state, { stock, version, isGone: false });
  if (state.live !== !stale) showConnection(!stale)();
  tick();
  if (revision > state.product.revision || stock > before) readSoon();
  announceStock(state.product.name, before, stock);
}

function showOption(productId, stock) {
  const link = options.find(({ dataset }) => dataset.id === productId);
  link?.classList.toggle("out", stock === 0);
  if (link) setText(link.querySelector(".unseen"), stock === 0 ? `, ${text("sold_out")}` : "");
}

// Renders the countdown and the clocks each time a second of theirs changes, and once more at their ends.
function tick() {
  clearTimeout(state.ticking);
  const wait = opensIn();
  render();
  const closes = Math.min(until(state.product.closesAt), LONGEST_TICK);
  const changes = [wait, ...orders.held.map(timeLeft)].filter((left) => left > 0).map((left) => left % 1000 || 1000);
  if (closes > 0) changes.push(closes);
  if (state.phase === "buying" || watch.fellLately(id) > 0) changes.push(1000);
  if (changes.length > 0) state.ticking = setTimeout(tick, Math.min(...changes) + 5);
  if (state.opening && wait <= 0) announce(text("announce_open", { name: state.product.name }));
  state.opening = wait > 0;
}

// Reads the drop and the buyer's orders. Throws an error with the code NOT_FOUND when the drop does not exist.
async function read() {
  const at = performance.now();
  const { product, orders: own } = await requestAsGuest(DROP, { id, language });
  if (product === null) throw Object.assign(new Error(), { code: "NOT_FOUND" });
  // Another database can have another product of this id, whose versions begin anew.
  const isOther = Date.parse(product.createdAt) !== Date.parse(state.product?.createdAt);
  Object.assign(state, { isGone: false, version: isOther ? -1 : state.version });
  if (isOther || product.revision > state.product.revision) showProduct(product);
  takeLevel(product);
  orders.show(nodes(own), at);
}

const readOrEnd = () => read().catch(showIfGone);

// Shows that the drop is not in the shop any more. Throws any other error.
function showIfGone(error) {
  if (error.code !== "NOT_FOUND") throw error;
  state.isGone = true;
  orders.show([], performance.now());
  announce(text("answer_refused_not_found"));
}

// Reads a product that an operator has changed.
const readSoon = soon(async () => {
  const before = saleState();
  await read();
  if (saleState() !== before) announce(text(saleState()));
});

function showProduct(product) {
  state.product = product;
  setText(parts["drop-name"], product.dropName);
  setText(parts.name, product.name);
  const lines = (product.description ?? "").split("\n").filter((line) => line.trim());
  const shown = [...parts.description.children].map(({ textContent }) => textContent);
  if (lines.join("\n") !== shown.join("\n")) {
    parts.description.replaceChildren(
      ...lines.map((textContent) => Object.assign(document.createElement("p"), { textContent })),
    );
  }
  parts.price.hidden = !product.price;
  if (product.price) setText(parts.price, price(product.price));
  if (opensIn() > 0) {
    const time = parts.opens.querySelector("time");
    time.dateTime = product.opensAt;
    setText(time, text("opens_at", { moment: moment(product.opensAt) }));
  }
  parts.closes.hidden = !product.closesAt;
  const at = { moment: product.closesAt && moment(product.closesAt) };
  setText(parts.closes, text(isClosed(product) ? "closed_at" : "closes_at", at));
  const count = product.limitPerBuyer;
  setText(parts.limit, count === null ? text("no_limit") : text("limit", { count }));
  const seconds = product.holdSeconds;
  parts["hold-time"].hidden = !seconds;
  parts.drop.classList.toggle("with-holds", Boolean(seconds));
  if (seconds) setText(parts["hold-time"], text("hold_time", { time: duration(seconds) }));
  parts.units.dataset.digits = number(product.stock).length;
}

// A key that is held down clicks once.
button.addEventListener("keydown", (event) => {
  if (event.repeat) event.preventDefault();
});
// A button with aria-disabled keeps the focus, and still gets clicks.
const press = (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-disabled") === "false") purchase();
};
form.addEventListener("submit", press);
barButton.addEventListener("click", (event) => {
  press(event);
  answer.scrollIntoView({ block: "center" });
});
const step = (by) => () => {
  quantity.value = String(wanted() + by);
  render();
};
for (const [part, by] of [["fewer", -1], ["more", 1]]) {
  parts[part].addEventListener("click", step(by));
}
quantity.addEventListener("change", step(0));
new IntersectionObserver(([{ isIntersecting }]) => (parts.bar.hidden = isIntersecting)).observe(button);

const showConnection = (live) => () => {
  const isNews = live !== state.live && state.live !== null;
  state.live = live;
  render();
  if (isNews) announce(connectionText());
};
const watch = new StockWatch({
  onChange: showLive,
  onLost: showConnection(false),
  onPolled: showConnection("polled"),
  onMissed: readOrEnd,
});

// What the server has rendered is enough, but for the orders of a guest and for the database's clock.
const rendered = JSON.parse(document.getElementById("product")?.textContent ?? "null");
if (rendered) {
  Object.assign(state, { stock: rendered.stock, version: rendered.version, isGone: false });
  showProduct(rendered);
  render();
}
if (!rendered || rendered.opensAt || rendered.closesAt || (hasGuests && knownGuest())) {
  await readFirst(rendered ? readOrEnd : read, "no_such_drop");
}
if (state.product) {
  const pending = unanswered(id);
  state.outcome = orders.outcomeNow(lastOutcome(id));
  if (!hasGuests) state.outcome = sentForAnother(id, null) ?? { status: "SIGN_IN" };
  else if (pending && isRecent(pending)) purchase();
  else if (pending) Object.assign(state, { phase: "unanswered", outcome: { status: "UNANSWERED" } });
  tick();
  // A buyer who waits for the opening gets a token before it, so that the click sends nothing but the purchase.
  if (hasGuests && opensIn() > 0) guest().catch(() => {});
  watch.watch(options.length > 0 ? options.map(({ dataset }) => dataset.id) : [id]);
  performance.mark("interactive");
} else {
  parts.drop.classList.add("missing");
  setText(parts.name, text("missing_heading"));
}
