// A held order: its time by the database's clock, and letting it go. What became of it is what the server answers.

import { request, until } from "./api.js";
import { announce, countdown, linkTo, setText, text } from "./locale.js";
import { knownGuest } from "./purchase.js";

const LET_GO = `mutation LetGo($id: ID!) {
  releaseOrder(orderId: $id) { id reference status quantity region createdAt heldUntil }
}`;
const SHORTEST = 2000; // ms between two readings, at least
const LONGEST = 15_000; // ms between two readings, at most
const LAST_MINUTE = 60_000; // ms

export const UNITS = ["CONFIRMED", "HELD"]; // the statuses of orders whose units are the buyer's
export const unitsOf = (orders) =>
  orders.reduce((sum, { status, quantity }) => (UNITS.includes(status) ? sum + quantity : sum), 0);

export const isHeld = ({ status }) => status === "HELD";
export const timeLeft = ({ heldUntil }) => until(heldUntil);

export function clockOf(order) {
  const { days, clock } = countdown(timeLeft(order));
  return days > 0 ? `${text("days", { count: days })} ${clock}` : clock;
}

// Calls `read` again and again while an order is held: a payment is confirmed without this page. `nextEnd` returns the
// ms until the first hold runs out, or Infinity if there is none. Returns a function that begins, for new holds.
export function readAgain(read, nextEnd) {
  let timer;
  let longest = SHORTEST;
  let last = -Infinity;
  const plan = (wait) => {
    clearTimeout(timer);
    if (nextEnd() === Infinity) return;
    timer = setTimeout(look, Math.max(wait, last + SHORTEST - performance.now()));
  };
  const look = async () => {
    if (document.visibilityState === "hidden") return; // it begins again when the page is seen
    last = performance.now();
    await read().catch(() => {});
    longest = Math.min(LONGEST, longest * (1 + Math.random() / 2)); // pages that began together drift apart
    const end = nextEnd();
    plan(Math.min(longest, end > 0 ? end : SHORTEST - end)); // after an end soon, and then less and less often
  };
  const begin = () => {
    longest = SHORTEST;
    plan(0);
  };
  addEventListener("online", begin);
  document.addEventListener("visibilitychange", begin);
  return begin;
}

// The panel of one held order. The order is let go by a click, which may be repeated: its units are returned once.
// `onAnswer` gets the order as the server then has it: it can have been paid or have run out meanwhile.
export class HoldPanel {
  #letting = false;
  #warned;
  tried = false; // to let it go

  constructor(order, onAnswer) {
    this.order = order;
    this.element = document.getElementById("hold").content.firstElementChild.cloneNode(true);
    const [reference, clock, state, actions, pay, button] = [".order bdi", "[role=timer]", ".state", "div", "a", "button"]
      .map((selector) => this.element.querySelector(selector));
    Object.assign(this, { clock, state, actions, pay, button });
    reference.textContent = order.reference;
    reference.id = `hold-${order.reference}`;
    for (const action of [pay, button]) action.setAttribute("aria-describedby", reference.id);
    pay.href = linkTo(`/demo/pay/${order.id}`);
    this.#warned = timeLeft(order) <= LAST_MINUTE;
    button.addEventListener("click", () => this.#letting || this.#letGo(onAnswer));
  }

  render() {
    const left = timeLeft(this.order);
    const unanswered = this.tried && !this.#letting;
    setText(this.clock, clockOf(this.order));
    setText(this.state, left <= 0 ? text("hold_checking") : unanswered ? text("answer_unanswered") : "");
    setText(this.button, text(this.#letting ? "letting_go" : "let_go"));
    this.button.setAttribute("aria-disabled", String(this.#letting));
    this.pay.hidden = this.#letting || document.body.dataset.demo !== "true";
    this.actions.hidden = left <= 0 && !this.#letting;
    if (left > LAST_MINUTE || left <= 0 || this.#warned) return;
    this.#warned = true;
    announce(text("hold_minute"));
  }

  async #letGo(onAnswer) {
    this.#letting = this.tried = true;
    this.render();
    try {
      onAnswer((await request(LET_GO, { id: this.order.id }, knownGuest()?.token)).releaseOrder);
    } catch {
      // The order may have been let go: it is read again while it is held.
    }
    this.#letting = false;
    this.render();
  }
}
