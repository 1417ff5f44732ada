// The buyer's orders of a product: their list, and of each held order a panel with its time by the database's clock, in
// which it can be let go. What became of an order is what the server answers.

import { request, until } from "./api.js";
import { announce, countdown, linkTo, setText, text } from "./locale.js";
import { isKept, knownGuest } from "./purchase.js";

const ORDERS = `query Mine($id: ID!) {
  orders(productId: $id, first: 20) { edges { node { id reference status quantity heldUntil } } }
}`;
const LET_GO = `mutation LetGo($id: ID!) {
  releaseOrder(orderId: $id) { id reference status quantity heldUntil }
}`;
export const STATES = { CONFIRMED: "confirmed", HELD: "held", CANCELLED: "cancelled", LAPSED: "lapsed" };
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

export const nodes = (connection) => (connection?.edges ?? []).map(({ node }) => node);

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

// The orders of this browser's guest of one product, as they were at a moment. `onChange` is called for each whose status
// has changed since, with the order and its new status, which is RELEASED for one that the buyer has let go here; and
// `onShown` once after all of them.
export class OwnOrders {
  #at = 0;
  #panels = new Map(); // of the held orders, by their ids
  #follow;
  all = [];

  constructor(productId, { onChange, onShown }) {
    Object.assign(this, { onChange, onShown });
    this.#follow = readAgain(
      async () => {
        const at = performance.now();
        const { orders } = await request(ORDERS, { id: productId }, knownGuest()?.token);
        this.show(nodes(orders), at);
      },
      () => Math.min(...this.held.map(timeLeft)),
    );
  }

  // Those that are held, the first to run out first.
  get held() {
    return this.all.filter(isHeld).sort((one, other) => timeLeft(one) - timeLeft(other));
  }

  // The last outcome in this tab, with what has become of its order since. A hold is shown before it.
  outcomeNow(outcome) {
    const order = outcome?.order && this.all.find(({ id }) => id === outcome.order.id);
    const [held] = this.held;
    if (held && held.id !== order?.id && outcome?.status !== "UNKNOWN") return { status: "HELD", order: held };
    if (!order) return outcome?.status === "HELD" ? null : outcome;
    return order.status === outcome.order.status ? outcome : { status: order.status, order };
  }

  // Takes the orders as they were `at` a moment of performance.now().
  show(orders, at) {
    if (at < this.#at) return;
    const known = new Map(this.all.map(({ id, status }) => [id, status]));
    Object.assign(this, { all: orders });
    this.#at = at;
    for (const order of orders) {
      const { id, status } = order;
      if (status === (known.get(id) ?? status)) continue;
      this.onChange(order, status === "CANCELLED" && this.#panels.get(id)?.tried ? "RELEASED" : status);
    }
    this.#renderPanels();
    this.#renderList();
    this.onShown();
  }

  // Puts an order that was just answered into its place in the list, or before all others.
  put(order) {
    const index = this.all.findIndex(({ id }) => id === order.id);
    this.show(index < 0 ? [order, ...this.all] : this.all.with(index, order), performance.now());
  }

  // Renders the clocks of the holds.
  render() {
    for (const panel of this.#panels.values()) panel.render();
  }

  #renderPanels() {
    const held = new Map(this.held.map((order) => [order.id, order]));
    for (const [id, { element }] of this.#panels) {
      if (held.has(id)) continue;
      const hadFocus = element.contains(document.activeElement);
      element.remove();
      this.#panels.delete(id);
      if (hadFocus) document.getElementById("answer").focus();
    }
    for (const [id, order] of held) {
      if (this.#panels.has(id)) continue;
      const panel = new HoldPanel(order, (answered) => this.put(answered));
      this.#panels.set(id, panel);
      document.getElementById("holds").append(panel.element);
      this.#follow();
    }
  }

  #renderList() {
    document.getElementById("no-orders").hidden = this.all.length > 0;
    document.getElementById("browser-forgets").hidden = isKept();
    const template = document.getElementById("order").content;
    document.getElementById("orders").replaceChildren(
      ...this.all.map((order) => {
        const item = template.cloneNode(true);
        const [row, units, code, state] = item.querySelectorAll("li, strong, a, .order-state");
        row.dataset.status = order.status;
        units.textContent = text("units", { count: order.quantity });
        code.textContent = order.reference;
        code.href = linkTo(`/orders/${order.id}`);
        state.textContent = text(STATES[order.status]);
        return item;
      }),
    );
  }
}

// Shows the order that an answer is about, or none: to be kept as a picture, and shared. `status`: what became of it.
export function showWon(order, status, { name, option }) {
  const won = document.querySelector("#answer .won");
  const [what, code, among, receipt, share] = [".what bdi", ".order bdi", ".among", ".receipt", ".share"].map((part) =>
    won.querySelector(part),
  );
  won.hidden = !order;
  if (!order) return;
  setText(what, [name, option].filter(Boolean).join(" · "));
  setText(code, order.reference);
  const { stocked, stock } = status === "CONFIRMED" ? (order.product ?? {}) : {};
  setText(among, stocked ? text("gone_with_yours", { gone: stocked - stock, stocked }) : "");
  receipt.href = linkTo(`/orders/${order.id}`);
  offerSharing(share, status === "CONFIRMED", name, document.querySelector("[rel=canonical]")?.href ?? location.href);
}

// Lets a button share the address of a page, or copy it where the browser shares nothing. It is hidden unless `isOffered`.
export function offerSharing(button, isOffered, title, url) {
  button.hidden = !isOffered || !(navigator.share || navigator.clipboard);
  button.onclick = async () => {
    try {
      if (navigator.share) return await navigator.share({ title, url });
      await navigator.clipboard.writeText(url);
      setText(button, text("copied"));
      announce(text("copied"));
    } catch {
      // The buyer has changed their mind, or the browser does not allow it.
    }
  };
}
