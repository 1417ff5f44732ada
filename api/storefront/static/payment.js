// The demo of a payment: one held order, and a button in the place of the shop's payment. No money is taken.

import { readFirst, request } from "./api.js";
import { clockOf, isHeld, readAgain, timeLeft } from "./hold.js";
import { announce, linkTo, number, price, setText, text, times } from "./locale.js";
import { knownGuest, lasting, randomKey } from "./purchase.js";

const PAYMENT = `query Payment($id: ID!) {
  now
  order(id: $id) { id reference quantity status heldUntil price { amount currency } product { id name option } }
}`;
const DEADLINE = 20_000; // ms for one answer

const id = location.pathname.split("/").pop();
const [back, payment, pay, answer] = ["back", "payment", "pay", "answer"].map((name) => document.getElementById(name));
// `outcome` is what became of the payment, or null. `paying` while it is not known.
const state = { order: null, paying: false, outcome: null };

// The verdict and its detail, by the outcome of the payment or else by the status of the order.
const ANSWERS = {
  HELD: () => ["", text(timeLeft(state.order) > 0 ? "payment_held" : "hold_checking")],
  LAPSED: () => [text("answer_lapsed"), text("payment_late")],
  CANCELLED: () => [text("answer_cancelled"), ""],
  CONFIRMED: () => [text("answer_confirmed"), text("answer_paid")],
  GONE: () => [text("payment_gone"), text("payment_gone_detail")],
  ALREADY_CONFIRMED: () => [text("payment_already"), text("payment_already_detail")],
  REFUSED: () => [text("payment_refused"), ""],
  UNANSWERED: () => [text("answer_unanswered"), text("payment_unanswered")],
};

function buttonState() {
  if (state.paying) return ["paying", false];
  if (state.outcome === "UNANSWERED") return ["check_again", true];
  return ["pay_in_demo", !state.outcome && ["HELD", "LAPSED"].includes(state.order.status)];
}

function render() {
  if (!state.order) return;
  const status = state.outcome ?? state.order.status;
  const [verdict, detail] = ANSWERS[status]();
  answer.dataset.status = status;
  setText(answer.querySelector(".verdict"), verdict);
  setText(answer.querySelector(".detail"), detail);
  setText(document.getElementById("clock"), isHeld(state.order) ? clockOf(state.order) : "–");
  const [label, enabled] = buttonState();
  setText(pay, text(label));
  pay.setAttribute("aria-disabled", String(!enabled));
}

function tick() {
  clearTimeout(state.ticking);
  render();
  const left = isHeld(state.order) ? timeLeft(state.order) : 0;
  if (left > 0) state.ticking = setTimeout(tick, (left % 1000 || 1000) + 5);
}

// Reads the order. Throws an error with the code NOT_FOUND when this browser has no such order.
async function read() {
  const { order } = await request(PAYMENT, { id }, knownGuest()?.token);
  if (order === null) throw Object.assign(new Error(), { code: "NOT_FOUND" });
  const before = state.order?.status;
  state.order = order;
  const { name, option } = order.product;
  setText(document.getElementById("name"), [name, option].filter(Boolean).join(" · "));
  setText(document.getElementById("quantity"), number(order.quantity));
  setText(document.getElementById("reference"), order.reference);
  const total = document.getElementById("total");
  total.parentElement.hidden = !order.price;
  if (order.price) setText(total, price(times(order.price, order.quantity)));
  back.href = linkTo(`/drop/${order.product.id}`);
  payment.setAttribute("aria-busy", "false");
  tick();
  if (before && before !== order.status && !state.paying) announce(ANSWERS[state.outcome ?? order.status]().join(" "));
}

// The name of the payment: one for each order in this browser, so that a second click is the same payment.
function paymentRef() {
  const name = `dropzero.payment.${id}`;
  if (!lasting.getItem(name)) lasting.setItem(name, `demo-${randomKey()}`);
  return lasting.getItem(name);
}

// Sends the payment, and returns what became of it. Without an answer, it may be sent again.
async function send() {
  try {
    const response = await fetch(location.pathname, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${knownGuest()?.token}` },
      body: JSON.stringify({ paymentRef: paymentRef() }),
      signal: AbortSignal.timeout(DEADLINE),
    });
    if (response.ok) return (await response.json()).outcome;
    return response.status < 500 && response.status !== 429 ? "REFUSED" : "UNANSWERED";
  } catch {
    return "UNANSWERED";
  }
}

pay.addEventListener("click", async () => {
  if (pay.getAttribute("aria-disabled") === "true") return;
  state.paying = true;
  render();
  state.outcome = await send();
  await read().catch(() => {});
  state.paying = false;
  render();
  announce(ANSWERS[state.outcome]().join(" "));
});

await readFirst(read, "payment_missing");
if (state.order) {
  readAgain(read, () => (isHeld(state.order) ? timeLeft(state.order) : Infinity))();
  performance.mark("interactive");
} else payment.hidden = true;
