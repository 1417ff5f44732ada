// A held order until it is paid, let go or has run out: its clock, what the buyer can do, and reading it again. Its time
// passes by the database's clock, and what became of it is only what the server answers.

import { now, pause, request } from "./api.js";
import { announce, countdown, text } from "./locale.js";
import { BUDGET, FINAL_CODES, knownGuest, waitAfter } from "./purchase.js";

const LET_GO = `mutation LetGo($id: ID!) {
  releaseOrder(orderId: $id) { id reference status quantity region createdAt heldUntil }
}`;
const SHORTEST = 2000; // ms between two readings, at least
const LONGEST = 15_000; // ms between two readings, at most
const ENDING = 30_000; // ms after the end, in which the server ends the hold or answers that it was paid
const LAST_MINUTE = 60_000; // ms

export const isHeld = ({ status }) => status === "HELD";
export const timeLeft = ({ heldUntil }) => Date.parse(heldUntil) - now();

// The time left as a clock, with the days before it if there are any.
export function clockOf(order) {
  const { days, clock } = countdown(timeLeft(order));
  return days > 0 ? `${text("days", { count: days })} ${clock}` : clock;
}

// Lets a held order go. It is sent again until there is an answer: its units are returned once. Returns the order as the
// server then has it, which can have been paid or have run out meanwhile. Returns null if there is no answer within
// BUDGET or never will be.
async function letGo(id) {
  const end = performance.now() + BUDGET;
  for (let failures = 0; ; failures += 1) {
    let wait;
    try {
      return (await request(LET_GO, { id }, knownGuest()?.token)).releaseOrder;
    } catch (error) {
      if ([...FINAL_CODES, "UNAUTHENTICATED"].includes(error.code)) return null;
      wait = waitAfter(error, failures);
    }
    if (performance.now() + wait > end) return null;
    await pause(wait);
  }
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
    if (end > 0) plan(Math.min(longest, end));
    else plan(end > -ENDING ? SHORTEST : longest);
  };
  const begin = () => {
    longest = SHORTEST;
    plan(0);
  };
  addEventListener("online", begin);
  document.addEventListener("visibilitychange", begin);
  return begin;
}

// The panel of one held order. `onAnswer` gets the order after it was let go.
export class HoldPanel {
  #letting = false;
  #unanswered = false;
  #warned;

  constructor(order, onAnswer) {
    this.order = order;
    this.element = document.getElementById("hold").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    Object.assign(this, { clock: part("[role=timer]"), state: part(".hold-state"), actions: part(".hold-actions") });
    Object.assign(this, { pay: part("a"), button: part("button") });
    const reference = part(".hold-reference bdi");
    reference.textContent = order.reference;
    reference.id = `hold-${order.reference}`;
    this.button.setAttribute("aria-describedby", reference.id);
    this.pay.setAttribute("aria-describedby", reference.id);
    this.pay.href = `/demo/pay/${order.id}`;
    this.#warned = timeLeft(order) <= LAST_MINUTE;
    this.button.addEventListener("click", () => this.#letGo(onAnswer));
  }

  render() {
    const put = (element, content) => element.textContent !== content && (element.textContent = content);
    const left = timeLeft(this.order);
    put(this.clock, clockOf(this.order));
    put(this.state, left <= 0 ? text("hold_checking") : this.#unanswered ? text("answer_unanswered") : "");
    put(this.button, text(this.#letting ? "letting_go" : "let_go"));
    this.button.setAttribute("aria-disabled", String(this.#letting));
    this.pay.hidden = this.#letting || document.body.dataset.demo !== "true";
    this.actions.hidden = left <= 0 && !this.#letting;
    if (left > LAST_MINUTE || left <= 0 || this.#warned) return;
    this.#warned = true;
    announce(text("hold_minute"));
  }

  async #letGo(onAnswer) {
    if (this.#letting) return;
    this.#letting = true;
    this.render();
    const order = await letGo(this.order.id);
    this.#letting = false;
    this.#unanswered = order === null;
    this.render();
    if (order) onAnswer(order);
  }
}
