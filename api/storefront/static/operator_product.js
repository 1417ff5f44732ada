// One product: its state, and the forms that steer its sale.

import { now } from "./api.js";
import { isolated, setText, text } from "./locale.js";
import { changeInWords } from "./operator_log.js";
import { fillLook, steerLook } from "./operator_look.js";
import { FIELDS, atMostEvery, confirmed, onSubmit, onSubmitOnce, showState, timesOf } from "./operator_parts.js";
import { ask } from "./operator_session.js";

const PRODUCT = `query OperatorProduct($id: ID!) {
  now
  product(id: $id) {
    id name dropName description stock stocked version revision opensAt closesAt pausedAt archivedAt
    limitPerBuyer holdSeconds family option price { amount currency }
    images { url alt width height } descriptions { language text }
  }
}`;
const UPDATE = `mutation Update($input: UpdateProductInput!) { updateProduct(input: $input) { id } }`;
const PAUSE = `mutation Pause($id: ID!) { pauseProduct(productId: $id) { id } }`;
const RESUME = `mutation Resume($id: ID!) { resumeProduct(productId: $id) { id } }`;
const ARCHIVE = `mutation Archive($id: ID!) { archiveProduct(productId: $id) { id } }`;
const RESTOCK = `mutation Restock($input: RestockInput!) { restock(input: $input) { stock } }`;

const READ_INTERVAL = 1000; // ms between two readings of a product that others change, at least

const forms = Object.fromEntries(
  ["pause", "restock", "archive", "details"].map((id) => [id, document.getElementById(id)]),
);
let product = null;
let base = null; // the product that the form of details shows
let onChange = () => {};

const NAMES = Object.keys(FIELDS);
const fieldOf = (name) => forms.details.elements[name];
const written = (values, name) => String(FIELDS[name].write(values[name]));
const isEdited = (name) => fieldOf(name).value !== written(base, name);
const isSame = (name) => written(base, name) === written(product, name);

// Writes the product into these fields of the form.
function fillDetails(names) {
  for (const name of names) fieldOf(name).value = FIELDS[name].write(product[name]);
  base = product;
}

function render() {
  document.title = `${product.name} · DROPZERO`;
  setText(document.getElementById("heading"), product.name);
  setText(document.getElementById("drop-name"), product.dropName);
  setText(document.getElementById("times"), timesOf(product));
  document.getElementById("in-shop").href = `/drop/${product.id}`;
  renderState();
  const stopped = Boolean(product.pausedAt || product.archivedAt);
  setText(document.getElementById("pause-text"), text(stopped ? "operator_resume_text" : "operator_pause_text"));
  setText(forms.pause.querySelector("button"), text(stopped ? "operator_resume" : "operator_pause"));
  forms.archive.hidden = Boolean(product.archivedAt);
}

export function renderState() {
  if (product) showState(document.getElementById("status"), product, now());
}

const readAgain = atMostEvery(READ_INTERVAL, () => readProduct(product.id));

// Takes a stock and a revision that the server has sent. The product is read again when it was changed.
export function showStock({ stock, revision }) {
  product.stock = stock;
  renderState();
  if (revision > product.revision) readAgain();
}

// Reads the product. `saved`: the forms whose edits are in it. Any other form with edits stays as it is.
export async function readProduct(id, { saved = [] } = {}) {
  const found = (await ask(PRODUCT, { id })).product;
  if (found === null) throw Object.assign(new Error(), { code: "NOT_FOUND" });
  const changed = product && found.revision > product.revision;
  product = found;
  if (saved.includes(forms.details) || base === null || !NAMES.some(isEdited)) fillDetails(NAMES);
  else if (NAMES.every(isSame)) base = product; // the sale was paused, for example
  fillLook(product, { saved });
  render();
  if (changed) onChange();
  return product;
}

async function save() {
  const edited = NAMES.filter(isEdited);
  if (edited.length === 0) return text("operator_unchanged");
  const values = edited.map((name) => [name, FIELDS[name].read(fieldOf(name).value)]);
  try {
    const input = { productId: product.id, revision: base.revision, ...Object.fromEntries(values) };
    await ask(UPDATE, { input });
  } catch (error) {
    if (error.code !== "STALE_REVISION") throw error;
    await readProduct(product.id);
    showConflict();
    throw Object.assign(new Error(text("operator_stale")), { code: error.code });
  }
  document.getElementById("conflict").replaceChildren();
  await readProduct(product.id, { saved: [forms.details] });
  return text("operator_saved");
}

// Shows what others have changed since the form was filled. What the operator has edited stays in the form.
function showConflict() {
  const asText = (values, name) => values[name] && (name === "price" ? written(values, name) : String(values[name]));
  const lines = NAMES.filter((name) => !isSame(name)).map((field) =>
    changeInWords({ field, before: asText(base, field), after: asText(product, field) }),
  );
  document
    .getElementById("conflict")
    .replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  fillDetails(NAMES.filter((name) => !isEdited(name)));
}

async function pauseOrResume() {
  const stopped = product.pausedAt || product.archivedAt;
  await ask(stopped ? RESUME : PAUSE, { id: product.id });
  await readProduct(product.id);
  return text(stopped ? "operator_resumed" : "operator_paused_now");
}

async function archive() {
  const name = isolated(product.name);
  if (!(await confirmed(text("operator_archive_question", { name }), text("operator_archive")))) return undefined;
  await ask(ARCHIVE, { id: product.id });
  await readProduct(product.id);
  // This form is hidden now, and the other one brings the product back.
  setText(forms.pause.querySelector(".result"), text("operator_archived_now"));
  forms.pause.querySelector("button").focus();
  return undefined;
}

async function restock(input) {
  const { stock } = (await ask(RESTOCK, { input })).restock;
  await readProduct(product.id);
  onChange();
  return text("operator_restocked", { count: stock });
}

// Makes the forms work. `changed` is called when the product was changed, here or elsewhere.
export function steer(changed) {
  onChange = changed;
  onSubmit(forms.pause, pauseOrResume);
  onSubmit(forms.archive, archive);
  onSubmit(forms.details, save);
  steerLook((saved) => readProduct(product.id, { saved }));
  const read = () => ({ productId: product.id, delta: Number(forms.restock.elements.delta.value) });
  onSubmitOnce(forms.restock, `dropzero.operator.restock.${product.id}`, read, restock);
}
