// What the parts of the operator's page share: the state of a product, forms that send something, and moments in fields.

import { pause } from "./api.js";
import { language, moment, setText, text } from "./locale.js";
import { explain, explainOnce, isUnanswered, showResult } from "./operator_session.js";
import { randomKey, visit } from "./purchase.js";

const zone = new Intl.DateTimeFormat(language, { timeZoneName: "longGeneric" });

// The name of this browser's time zone, in which all times of the page are.
const zoneName = () => zone.formatToParts().find(({ type }) => type === "timeZoneName").value;
export function nameZones() {
  for (const hint of document.querySelectorAll(".zone")) setText(hint, text("operator_zone", { zone: zoneName() }));
}

// The state of a product at a moment: the first that is true.
export function stateOf({ archivedAt, closesAt, pausedAt, opensAt, stock }, at) {
  if (archivedAt) return "operator_archived";
  if (closesAt && Date.parse(closesAt) <= at) return "closed";
  if (pausedAt) return "paused";
  if (opensAt && Date.parse(opensAt) > at) return "operator_scheduled";
  return stock === 0 ? "sold_out" : "operator_on_sale";
}

export function showState(badge, product, at) {
  const state = stateOf(product, at);
  setText(badge, text(state));
  badge.dataset.state = state;
}

// When a product opens and closes, in words.
export function timesOf({ opensAt, closesAt }) {
  const opens = opensAt && text("opens_at", { moment: moment(opensAt) });
  const closes = closesAt && text("closes_at", { moment: moment(closesAt) });
  return [opens, closes].filter(Boolean).join(" · ");
}

const twoDigits = (value) => String(value).padStart(2, "0");

// A moment as a field of the kind datetime-local has it, in this browser's time zone. And back, in UTC.
export function toField(value) {
  if (!value) return "";
  const at = new Date(value);
  const date = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(twoDigits).join("-");
  return `${date}T${[at.getHours(), at.getMinutes(), at.getSeconds()].map(twoDigits).join(":")}`;
}
export const fromField = (value) => (value ? new Date(value).toISOString() : null);
const wholeNumber = (value) => (value === "" ? null : Number(value));
const words = (value) => value.trim() || null;

// A price as "48.00 EUR". The server refuses what is none, and says what it expects.
const toPrice = (price) => (price ? `${price.amount} ${price.currency}` : "");
function fromPrice(value) {
  const [, amount, currency] = /^\s*(\S*)\s*(.*?)\s*$/.exec(value);
  return amount ? { amount, currency: currency.toUpperCase() } : null;
}

// How the values of a product's fields are read from a form, and written into it.
export const FIELDS = {
  name: { read: words, write: String, label: "operator_name" },
  description: { read: words, write: (value) => value ?? "", label: "operator_description" },
  opensAt: { read: fromField, write: toField, label: "operator_opens" },
  closesAt: { read: fromField, write: toField, label: "operator_closes" },
  limitPerBuyer: { read: wholeNumber, write: (value) => value ?? "", label: "operator_limit" },
  price: { read: fromPrice, write: toPrice, label: "operator_price" },
  family: { read: words, write: (value) => value ?? "", label: "operator_family" },
  option: { read: words, write: (value) => value ?? "", label: "operator_option" },
  holdSeconds: { read: wholeNumber, write: (value) => value ?? "", label: "operator_hold" },
};

// Sends what a form is for when it is submitted: one submission at a time, and its button keeps the focus. `work`
// returns the text that says what was done, or undefined if it was not. An error is shown as it is.
export function onSubmit(form, work) {
  const button = form.querySelector("[type=submit]");
  const result = form.querySelector(".result");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    showResult(result, "");
    try {
      showResult(result, (await work()) ?? "");
    } catch (error) {
      showResult(result, explain(error), true);
    }
    button.setAttribute("aria-disabled", "false");
  });
}

// Sends a change under a key that is kept until there is an answer, also over a reload. Until then the form shows what
// was sent, and cannot be changed: sent again under its key, it counts once. `send` gets the input with the key.
export function onSubmitOnce(form, name, read, send) {
  const kept = () => JSON.parse(visit.getItem(name));
  const fields = [...form.elements].filter((field) => field.name);
  const freeze = (frozen) => {
    for (const field of fields) field.readOnly = frozen;
  };
  onSubmit(form, async () => {
    const { values, input } = kept() ?? { values: fields.map(({ value }) => value), input: read() };
    const sent = { ...input, idempotencyKey: input.idempotencyKey ?? randomKey() };
    visit.setItem(name, JSON.stringify({ values, input: sent }));
    freeze(true);
    try {
      const done = await send(sent);
      visit.removeItem(name);
      freeze(false);
      form.reset();
      return done;
    } catch (error) {
      if (isUnanswered(error)) throw Object.assign(new Error(explainOnce(error)), { code: "UNANSWERED" });
      visit.removeItem(name);
      freeze(false);
      throw error;
    }
  });
  if (kept() === null) return;
  kept().values.forEach((value, index) => (fields[index].value = value));
  freeze(true);
  setText(form.querySelector(".result"), explainOnce({}));
}

// Has the operator confirm what cannot be undone. Returns whether it was confirmed.
export function confirmed(question, button) {
  const dialog = document.getElementById("confirm");
  setText(document.getElementById("confirm-text"), question);
  setText(dialog.querySelector("[value=yes]"), button);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Returns a function that calls `work`, at most once in `interval` ms and not twice at a time. A call that comes too
// early is made up for.
export function atMostEvery(interval, work) {
  let running = false;
  let asked = false;
  const run = async () => {
    asked = true;
    if (running) return;
    running = true;
    while (asked) {
      asked = false;
      await work().catch(() => {}); // the next call reads the same again
      await pause(interval);
    }
    running = false;
  };
  return run;
}

// Rows of a table, kept by key: a row that stays keeps its focus. `fill` writes an item into a row's cells.
export function fillRows(body, items, key, make, fill) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const row = known.get(key(item)) ?? make(item);
    row.dataset.key = key(item);
    fill(row, item);
    return row;
  });
  const gone = [...body.children].filter((row) => !rows.includes(row));
  for (const row of gone) row.remove();
  rows.forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
}

// A row with so many cells, the first of them its head.
export function emptyRow(cells) {
  const row = document.createElement("tr");
  const head = Object.assign(document.createElement("th"), { scope: "row" });
  row.append(head, ...Array.from({ length: cells - 1 }, () => document.createElement("td")));
  return row;
}

export function isolate(element, content) {
  const found = element.querySelector("bdi") ?? element.appendChild(document.createElement("bdi"));
  setText(found, content);
}
