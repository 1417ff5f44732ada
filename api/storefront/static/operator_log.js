// What operators have done, newest first: with a product, or in the whole shop.

import { isolated, language, moment, number, setText, text } from "./locale.js";
import { lookInWords } from "./operator_look.js";
import { FIELDS, fillRows, isolate } from "./operator_parts.js";
import { ask } from "./operator_session.js";

const LOG = `query OperatorLog($productId: ID, $after: String) {
  operatorLog(first: 10, after: $after, productId: $productId) {
    edges { node { id at operator action productId orderId changes { field before after } } }
    pageInfo { hasNextPage endCursor }
  }
}`;
const ACTIONS = {
  PRODUCT_CREATED: "operator_did_create",
  PRODUCT_UPDATED: "operator_did_update",
  PRODUCT_PAUSED: "operator_did_pause",
  PRODUCT_RESUMED: "operator_did_resume",
  PRODUCT_ARCHIVED: "operator_did_archive",
  PRODUCT_RESTOCKED: "operator_did_restock",
  ORDER_CANCELLED: "operator_did_cancel",
  ORDER_RELEASED: "operator_did_release",
  ORDERS_EXPORTED: "operator_did_export",
};
const MOMENT = /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/;
const NUMBER = /^-?\d{1,15}$/;

const times = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

const LABELS = {
  ...Object.fromEntries(Object.entries(FIELDS).map(([field, { label }]) => [field, label])),
  dropName: "drop",
  stock: "stock",
  status: "operator_state",
  images: "operator_pictures",
  descriptions: "operator_descriptions",
  pausedAt: "paused",
  archivedAt: "operator_archived",
};
const STATES = { CONFIRMED: "confirmed", HELD: "held", CANCELLED: "cancelled", LAPSED: "lapsed" };

// A value of a change: a moment, a number and a state as the reader writes them.
function shownValue(field, value) {
  if (value === null) return text("operator_nothing_set");
  if (field === "status" && value in STATES) return text(STATES[value]);
  if (field === "images" || field === "descriptions") return lookInWords(field, value);
  if (MOMENT.test(value)) return moment(value);
  return NUMBER.test(value) ? number(Number(value)) : isolated(value);
}

// What was changed, in words.
export function changeInWords({ field, before, after }) {
  const label = LABELS[field] ? text(LABELS[field]) : isolated(field);
  const [was, is] = [before, after].map((value) => shownValue(field, value));
  return text("operator_change", { field: label, before: was, after: is });
}

function makeRow() {
  const row = document.createElement("li");
  row.className = "row entry";
  const [what, who, changes] = ["p", "p", "ul"].map((name) => row.appendChild(document.createElement(name)));
  what.append(document.createElement("strong"), " ", document.createElement("a"));
  who.className = "quiet";
  who.append(document.createElement("time"), " ", document.createElement("bdi"));
  changes.className = "changes";
  return row;
}

function fillRow(row, { at, operator, action, productId, orderId, changes }, nameOf) {
  setText(row.querySelector("strong"), text(ACTIONS[action] ?? "operator_did_something"));
  const link = row.querySelector("a");
  link.hidden = !nameOf || productId === null;
  link.href = `/operator?product=${productId}`;
  if (!link.hidden) isolate(link, nameOf(productId) ?? text("operator_product"));
  const time = row.querySelector("time");
  time.dateTime = at;
  setText(time, times.format(new Date(at)));
  isolate(row.querySelector(".quiet"), operator);
  const lines = changes.map(changeInWords);
  if (orderId) lines.unshift(text("operator_order_id", { id: isolated(orderId) }));
  row
    .querySelector("ul")
    .replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

// Shows the log of a product, or without one that of the whole shop, whose entries link to products by what `nameOf`
// returns. Returns a function that reads its newest entries again.
export function showLog(productId, nameOf = null) {
  const list = document.getElementById("log");
  const more = document.getElementById("more-log");
  document.getElementById("log-section").hidden = false;
  let entries = [];
  let end = null;
  const read = async (after) => {
    const { edges, pageInfo } = (await ask(LOG, { productId, after })).operatorLog;
    const found = edges.map(({ node }) => node);
    const fresh = found.filter(({ id }) => !entries.some((entry) => entry.id === id));
    if (after || entries.length === 0) end = pageInfo.hasNextPage ? pageInfo.endCursor : null;
    entries = after ? [...entries, ...fresh] : [...fresh, ...entries];
    fillRows(
      list,
      entries,
      ({ id }) => id,
      makeRow,
      (row, entry) => fillRow(row, entry, nameOf),
    );
    more.hidden = end === null;
  };
  more.addEventListener("click", () => read(end).catch(() => {}));
  return () => read(null);
}
