// The products of the shop, newest first, with their live stock, and the form that creates one.

import { StockWatch, now } from "./api.js";
import { isolated, number, setText, text } from "./locale.js";
import { FIELDS, atMostEvery, fillRows, onSubmitOnce, showState, timesOf } from "./operator_parts.js";
import { ask, explain, showResult } from "./operator_session.js";

const PRODUCTS = `query OperatorProducts($after: String, $archived: Boolean) {
  now
  products(first: 50, after: $after, archived: $archived) {
    edges { node { id name dropName stock stocked revision opensAt closesAt pausedAt archivedAt } }
    pageInfo { hasNextPage endCursor }
  }
}`;
const CREATE = `mutation Create($input: CreateProductInput!) { createProduct(input: $input) { id name } }`;
const WATCHED = 100; // products that one subscription can have
const STATES_INTERVAL = 1000; // ms; products open and close by themselves
const READ_INTERVAL = 2000; // ms between two readings, at least

const list = document.getElementById("product-list");
const more = document.getElementById("more-products");
const archived = document.getElementById("archived");
const form = document.getElementById("create");
let products = [];
let watched = []; // the ids of those whose stock is live
let end = null; // the cursor of the last product, if more follow

function makeRow({ id }) {
  const row = document.getElementById("product-row").content.firstElementChild.cloneNode(true);
  row.querySelector("a").href = `/operator?product=${id}`;
  return row;
}

function fillRow(row, product) {
  const [name, drop] = row.querySelectorAll("p:first-child bdi");
  setText(name, product.name);
  setText(drop, product.dropName);
  showState(row.querySelector(".badge"), product, now());
  setText(row.querySelector(".stock"), number(product.stock));
  setText(row.querySelector(".label"), text("operator_of_stocked", { stocked: product.stocked }));
  setText(row.querySelector(".times"), timesOf(product));
}

function render() {
  fillRows(list, products, ({ id }) => id, makeRow, fillRow);
  document.querySelector("#products .none").hidden = products.length > 0;
  more.hidden = end === null;
}

const watch = new StockWatch({
  onChange({ productId, stock, revision }) {
    const product = products.find(({ id }) => id === productId);
    if (!product) return;
    product.stock = stock;
    if (revision > product.revision) readAgain();
  },
  onLost() {},
  onMissed: () => read(),
});

async function read(after = null) {
  const shown = archived.checked;
  const found = (await ask(PRODUCTS, { after, archived: shown })).products;
  if (shown !== archived.checked) return; // the operator has chosen the other list meanwhile
  const fresh = found.edges.map(({ node }) => node);
  products = after ? [...products, ...fresh] : fresh;
  end = found.pageInfo.hasNextPage ? found.pageInfo.endCursor : null;
  render();
  const ids = products.slice(0, WATCHED).map(({ id }) => id);
  if (ids.length > 0 && ids.join() !== watched.join()) watch.watch((watched = ids));
}
const readAgain = atMostEvery(READ_INTERVAL, () => read());

function newProduct() {
  const fields = form.elements;
  const values = Object.entries(FIELDS).map(([name, { read }]) => [name, read(fields[name].value)]);
  const given = Object.fromEntries(values.filter(([, value]) => value !== null));
  return { ...given, dropName: fields.dropName.value.trim(), stock: Number(fields.stock.value) };
}

// Returns the name of a product, or undefined if the list does not show it.
export const nameOf = (productId) => products.find(({ id }) => id === productId)?.name;

export async function showList() {
  await read();
  document.getElementById("products").hidden = false;
  onSubmitOnce(form, "dropzero.operator.create", newProduct, async (input) => {
    const { name } = (await ask(CREATE, { input })).createProduct;
    await read();
    return text("operator_created", { name: isolated(name) });
  });
  more.addEventListener("click", () =>
    read(end).catch((error) => showResult(form.querySelector(".result"), explain(error), true)),
  );
  archived.addEventListener("change", () => read().catch(() => {}));
  setInterval(render, STATES_INTERVAL);
}
