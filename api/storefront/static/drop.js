// One drop: when it opens, what is left, one button, one answer, and the buyer's own orders.

import { StockWatch, ask, backoff, now, pause } from "./api.js";
import { ago, announce, countdown, isolated, moment, number, text } from "./locale.js";
import { buy, buyer, isRecent, lastOutcome, unanswered } from "./purchase.js";

const DROP = `query Drop($id: ID!, $buyer: String!) {
  now
  product(id: $id) { name dropName stock opensAt limitPerBuyer }
  orders(productId: $id, userRef: $buyer, first: 20) { edges { node { id quantity status region createdAt } } }
}`;
const FEW = 10; // units left that are worth saying
// ms after an answer until the next click counts: the second of a double click is no second wish.
const REST = 1000;
const AGE_INTERVAL = 60_000; // ms

const id = location.pathname.split("/").pop();
const part = Object.fromEntries([...document.querySelectorAll("#drop [id], #drop, #notice")].map((at) => [at.id, at]));
const answer = document.getElementById("answer");

// What the page knows; `live` is null until the first connection, and false once it was lost; `phase` is "ready",
// "buying" (then `told` says what it waits for), "resting" or "unanswered".
const state = { product: null, stock: null, live: null, orders: [], phase: "ready", told: null, outcome: null };

const opensIn = () => (state.product.opensAt ? Date.parse(state.product.opensAt) - now() : 0);
const held = () =>
  state.orders.filter(({ status }) => status === "CONFIRMED").reduce((sum, { quantity }) => sum + quantity, 0);
const limitReached = () => state.product.limitPerBuyer !== null && held() >= state.product.limitPerBuyer;

function show(element, said) {
  if (element.textContent !== said) element.textContent = said;
}

function offer() {
  if (state.phase === "buying") return ["buying", false];
  if (state.phase === "unanswered") return ["ask_again", true];
  if (state.phase === "resting" && state.outcome?.status === "CONFIRMED") return ["confirmed", false];
  if (opensIn() > 0) return ["not_open_yet", false];
  if (state.stock === 0) return ["sold_out", false];
  if (limitReached()) return ["limit_reached", false];
  return [state.orders.length > 0 ? "buy_another" : "buy", state.phase === "ready"];
}

function render() {
  if (!state.product) return;
  show(part.units, number(state.stock));
  show(part.label, text("units_left", { count: state.stock }));
  show(part.connection, text({ null: "connecting", true: "live", false: "last_known" }[state.live]));
  part.drop.classList.toggle("live", state.live === true);
  part.drop.classList.toggle("gone", state.stock === 0);

  const wait = opensIn();
  const left = countdown(wait);
  const days = left.days > 0 ? text("days", { count: left.days }) : "";
  show(part.opening, wait > 0 ? `${text("opens_in")} ${days}` : text(state.stock === 0 ? "sold_out" : "open_now"));
  show(part.countdown, wait > 0 ? left.clock : "");

  const [label, enabled] = offer();
  show(part.buy, text(label));
  part.buy.setAttribute("aria-disabled", String(!enabled));
  renderAnswer();
}

const ANSWERS = {
  CONFIRMED: ({ replayed, remaining }) => {
    if (replayed) return ["answer_confirmed", text("answer_once")];
    return ["answer_confirmed", text("answer_left", { count: remaining })];
  },
  CANCELLED: () => ["answer_cancelled", ""],
  SOLD_OUT: () => ["answer_sold_out", text("answer_sold_out_detail")],
  NOT_OPEN: ({ opensAt }) => ["answer_not_open", text("opens_at", { moment: moment(opensAt) })],
  LIMIT_REACHED: ({ limit, held }) => ["limit_reached", text("answer_limit", { count: limit, held })],
  REFUSED: ({ message }) => ["answer_refused", message],
  UNANSWERED: () => ["answer_unanswered", text("answer_unanswered_detail")],
  BUSY: () => ["answer_busy", text("answer_busy_detail")],
  OPENING: () => ["answer_opening", text("answer_opening_detail")],
  ASKING: () => ["answer_asking", text("answer_asking_detail")],
};

function renderAnswer() {
  const outcome = state.phase === "buying" ? state.told && { status: state.told } : state.outcome;
  const [verdict, detail] = outcome ? ANSWERS[outcome.status](outcome) : [null, text("answer_none")];
  answer.dataset.status = outcome?.status ?? "";
  show(answer.querySelector(".verdict"), verdict ? text(verdict) : "");
  show(answer.querySelector(".detail"), detail);
  const order = outcome?.order;
  answer.querySelector(".order").hidden = !order;
  show(answer.querySelector(".order bdi"), order?.id ?? "");
}

function renderOrders() {
  part["no-orders"].hidden = state.orders.length > 0;
  const template = document.getElementById("order").content;
  part.orders.replaceChildren(
    ...state.orders.map((order) => {
      const item = template.cloneNode(true);
      const put = (selector, said) => (item.querySelector(selector).textContent = said);
      put("strong", text("units", { count: order.quantity }));
      put(".order-state", text(order.status === "CONFIRMED" ? "confirmed" : "cancelled"));
      put(".order-id bdi", order.id);
      put(".order-facts bdi", order.region);
      put("time", ago(now() - Date.parse(order.createdAt)));
      item.querySelector("time").dateTime = order.createdAt;
      item.querySelector("time").title = moment(order.createdAt);
      return item;
    }),
  );
}

async function purchase() {
  state.phase = "buying";
  state.told = null;
  render();
  state.outcome = await buy(id, (told) => {
    if (state.told !== told) announce(text(ANSWERS[told]()[0]));
    state.told = told;
    render();
  });
  state.phase = state.outcome.status === "UNANSWERED" ? "unanswered" : "resting";
  const { status, order, opensAt } = state.outcome;
  const [verdict, detail] = ANSWERS[status](state.outcome);
  announce([text(verdict), detail, order && `${text("order_number")} ${isolated(order.id)}`].filter(Boolean).join(" "));
  if (order) {
    state.orders = [order, ...state.orders.filter((other) => other.id !== order.id)];
    renderOrders();
  }
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
  if (status === "LIMIT_REACHED") await read().catch(() => {}); // bought elsewhere
}

function hear({ stock, stale }) {
  const before = state.stock;
  state.stock = stock;
  state.live = !stale;
  render();
  if (before > 0 && stock === 0) announce(text("announce_sold_out", { name: state.product.name }));
  else if (before > FEW && stock <= FEW) announce(text("announce_left", { name: state.product.name, count: stock }));
}

// Once a second while it is not open, at the moment when the second changes, and then once more at the opening.
function tick() {
  clearTimeout(state.ticking);
  const wait = opensIn();
  render();
  if (wait > 0) state.ticking = setTimeout(tick, Math.min(wait, wait % 1000 || 1000) + 5);
  else announce(text("announce_open", { name: state.product.name }));
}

// Throws NotFound's code when there is no such drop.
async function read() {
  const { product, orders } = await ask(DROP, { id, buyer: buyer() });
  if (product === null) throw Object.assign(new Error(), { code: "NOT_FOUND" });
  if (state.product === null) begin(product);
  else if (!state.live) state.stock = product.stock;
  state.orders = orders.edges.map(({ node }) => node);
  renderOrders();
  if (opensIn() > 0) tick();
  else render();
}

function begin(product) {
  Object.assign(state, { product, stock: product.stock });
  document.title = `${product.name} · DROPZERO`;
  show(part["drop-name"], product.dropName);
  show(part.name, product.name);
  part.opens.hidden = opensIn() <= 0;
  if (product.opensAt) show(part.opens, text("opens_at", { moment: moment(product.opensAt) }));
  show(part.limit, product.limitPerBuyer === null ? text("no_limit") : text("limit", { count: product.limitPerBuyer }));
  part.units.style.setProperty("--digits", number(product.stock).length);
  part.drop.setAttribute("aria-busy", "false");
}

// A key held down clicks once.
part.buy.addEventListener("keydown", (event) => {
  if (event.repeat) event.preventDefault();
});
// A button that is aria-disabled keeps the focus, and its clicks.
part.buy.addEventListener("click", () => {
  if (part.buy.getAttribute("aria-disabled") === "false") purchase();
});

for (let failures = 0; state.product === null; failures += 1) {
  try {
    await read();
    part.notice.hidden = true;
  } catch (error) {
    part.notice.hidden = false;
    const missing = ["NOT_FOUND", "BAD_USER_INPUT"].includes(error.code);
    show(part.notice, text(missing ? "no_such_drop" : "unreachable"));
    if (missing) {
      part.drop.classList.add("missing");
      part.drop.setAttribute("aria-busy", "false");
      show(part.name, text("missing_heading"));
      break;
    }
    await pause(backoff(failures));
  }
}

if (state.product) {
  const begun = unanswered(id);
  state.outcome = lastOutcome(id);
  if (begun && isRecent(begun)) purchase();
  else if (begun) Object.assign(state, { phase: "unanswered", outcome: { status: "UNANSWERED" } });
  render();
  const onLost = () => {
    state.live = false;
    render();
  };
  new StockWatch({ onChange: hear, onLost, onDoubt: () => read().catch(() => {}) }).watch([id]);
  setInterval(renderOrders, AGE_INTERVAL);
  performance.mark("interactive");
}
