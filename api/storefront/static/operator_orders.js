// The orders of a product: the newest as they come, a search, their numbers, cancelling one, and all of them as a file.

import { isolated, moment, number, setText, text } from "./locale.js";
import { atMostEvery, confirmed, emptyRow, fillRows, fromField, isolate, onSubmit } from "./operator_parts.js";
import { ask, explain, showResult, signOut, token } from "./operator_session.js";

const ORDERS = `query OperatorOrders(
  $productId: ID!, $first: Int!, $after: String, $reference: String, $userRef: String, $status: OrderStatus,
  $since: DateTime, $until: DateTime
) {
  orders(
    productId: $productId, first: $first, after: $after, reference: $reference, userRef: $userRef, status: $status,
    since: $since, until: $until
  ) {
    edges { node { id reference userRef quantity status region createdAt } }
    pageInfo { hasNextPage endCursor }
  }
}`;
const COUNTS = `query OrderCounts($id: ID!) {
  orderCounts(productId: $id) {
    held { orders units } confirmed { orders units } cancelled { orders units } lapsed { orders units }
  }
}`;
const CANCEL = `mutation OperatorCancel($input: CancelOrderInput!) { cancelOrder(input: $input) { id status } }`;
const STATES = { CONFIRMED: "confirmed", HELD: "held", CANCELLED: "cancelled", LAPSED: "lapsed" };
const NEWEST = 10; // orders that are shown as they come
const FOUND = 50; // orders of one page of a search
const INTERVAL = 2000; // ms between two readings of the newest orders, at least
const COUNTS_INTERVAL = 10_000; // ms between two counts, each of which reads all orders, at least
const LONGEST_MESSAGE = 300; // characters of an error that is shown; one of a proxy can be a page

const form = document.getElementById("search");
const body = document.querySelector("#orders tbody");
const state = document.getElementById("orders-state");
const result = form.querySelector(".result");
const more = document.getElementById("more-orders");
let productId;
let onLogged; // is called after something that the operator log has
let orders = [];
let end = null; // the cursor of the last order that was found, if more follow
let searched = null; // what was searched for, or null while the newest orders are shown

const time = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "short", timeStyle: "medium" });

function makeRow(order) {
  const row = emptyRow(7);
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "plain", textContent: text("operator_cancel") });
  button.setAttribute("aria-label", text("operator_cancel_order", { reference: order.reference }));
  button.addEventListener("click", () => cancel(order, button));
  row.children[6].append(button);
  row.children[0].append(Object.assign(document.createElement("bdi"), { dir: "ltr", translate: false }));
  return row;
}

function fillRow(row, order) {
  const [reference, buyer, units, status, at, region, action] = row.children;
  isolate(reference, order.reference);
  isolate(buyer, order.userRef);
  setText(units, number(order.quantity));
  setText(status, text(STATES[order.status]));
  row.dataset.status = order.status;
  setText(at, time.format(new Date(order.createdAt)));
  at.title = moment(order.createdAt);
  isolate(region, order.region);
  action.firstChild.hidden = !["CONFIRMED", "HELD"].includes(order.status);
}

function render() {
  fillRows(body, orders, ({ id }) => id, makeRow, fillRow);
  setText(state, text(searched ? "operator_found" : "operator_newest", { count: orders.length }));
  more.hidden = end === null;
}

async function read(after = null) {
  const asked = searched;
  const first = searched ? FOUND : NEWEST;
  const found = (await ask(ORDERS, { productId, first, after, ...searched })).orders;
  if (asked !== searched) return; // another search has begun meanwhile
  const fresh = found.edges.map(({ node }) => node);
  orders = after ? [...orders, ...fresh] : fresh;
  end = searched && found.pageInfo.hasNextPage ? found.pageInfo.endCursor : null;
  render();
}

async function readCounts() {
  const { orderCounts } = await ask(COUNTS, { id: productId });
  const rows = Object.entries(STATES).map(([status, label]) => ({ label, ...orderCounts[status.toLowerCase()] }));
  const table = document.querySelector("#counts tbody");
  fillRows(
    table,
    rows,
    ({ label }) => label,
    () => emptyRow(3),
    (row, count) => {
      setText(row.children[0], text(count.label));
      setText(row.children[1], number(count.orders));
      setText(row.children[2], number(count.units));
    },
  );
}

function filters() {
  const { reference, userRef, status, since, until } = form.elements;
  const given = {
    reference: reference.value.trim() || null,
    userRef: userRef.value.trim() || null,
    status: status.value || null,
    since: fromField(since.value),
    until: fromField(until.value),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
}

// A search that fails changes nothing: what was found before stays, and can be read again.
async function search() {
  const before = searched;
  const wanted = filters();
  searched = Object.keys(wanted).length > 0 ? wanted : null;
  try {
    await read();
  } catch (error) {
    searched = before;
    throw error;
  }
}

async function cancel({ id, reference, userRef }, button) {
  const question = text("operator_cancel_question", { reference: isolated(reference) });
  if (!(await confirmed(question, text("operator_cancel")))) return;
  button.setAttribute("aria-disabled", "true");
  try {
    await ask(CANCEL, { input: { orderId: id, userRef } });
    showResult(result, text("operator_cancelled", { reference: isolated(reference) }));
    result.focus(); // the button of a cancelled order is gone
    onLogged();
    await Promise.all([read(), readCounts()]);
  } catch (error) {
    showResult(result, explain(error), true);
  }
  button.setAttribute("aria-disabled", "false");
}
// Downloads all orders that the filters match. Where the browser can, they are written to the disk as they come.
async function download(kind) {
  const { status, since, until } = filters();
  const query = new URLSearchParams(Object.entries({ productId, status, since, until }).filter(([, value]) => value));
  const name = `orders-${productId}.${kind}`;
  const file = await window.showSaveFilePicker?.({ suggestedName: name });
  const response = await fetch(`/operator/orders.${kind}?${query}`, {
    headers: { authorization: `Bearer ${token()}` },
  });
  if (response.status === 401) signOut("operator_expired");
  if (!response.ok) {
    const message = (await response.text()).slice(0, LONGEST_MESSAGE);
    throw Object.assign(new Error(message), { code: response.status });
  }
  if (file) await response.body.pipeTo(await file.createWritable());
  else save(await response.blob(), name);
  onLogged();
  return text("operator_exported", { name: isolated(name) });
}

function save(content, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser has begun to read it by then
}

async function exportOrders(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  showResult(result, text("operator_exporting"));
  try {
    showResult(result, await download(button.dataset.export));
  } catch (error) {
    // A reader who closes the browser's dialog has changed their mind.
    if (error.name === "AbortError") showResult(result, "");
    else showResult(result, explain(error), true);
  }
  button.setAttribute("aria-disabled", "false");
}

// Shows the orders of a product. `logged` is called after what was done here is in the operator log. Returns a function
// that reads the newest orders again, if no search is shown.
export function showOrders(id, logged) {
  productId = id;
  onLogged = logged;
  result.tabIndex = -1;
  onSubmit(form, search);
  form.addEventListener("reset", () => {
    searched = null;
    showResult(result, "");
    read().catch(() => {});
  });
  more.addEventListener("click", () => read(end).catch((error) => showResult(result, explain(error), true)));
  for (const button of form.querySelectorAll("[data-export]")) {
    button.addEventListener("click", () => exportOrders(button));
  }
  const readNewest = atMostEvery(INTERVAL, async () => {
    // A row does not move away while a button in it has the focus.
    if (searched === null && !body.contains(document.activeElement)) await read();
  });
  const count = atMostEvery(COUNTS_INTERVAL, readCounts);
  const readAgain = () => {
    readNewest();
    count();
  };
  readAgain();
  return readAgain;
}
