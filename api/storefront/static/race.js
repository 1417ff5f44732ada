// The race through two Regions: real purchases at the same instant, what each was told, and whether the sum is right.

import { StockWatch, ask, backoff, now, pause } from "./api.js";
import { announce, number, text } from "./locale.js";
import { decide, lasting, randomKey } from "./purchase.js";

const COURSE = `query Course {
  now
  regions { name }
  products(first: 100) { edges { node { id name dropName stock opensAt } } }
}`;
const STOCK = `query Stock($id: ID!, $one: String!, $two: String!) {
  one: product(id: $id, region: $one) { stock }
  two: product(id: $id, region: $two) { stock }
}`;
const ORDERS = `query Orders($buyer: String!) { orders(userRef: $buyer) { edges { node { id status } } } }`;
const CANCEL = `mutation Return($input: CancelOrderInput!) { cancelOrder(input: $input) { id } }`;

const ROUNDS = 10;
const TO_RETURN = "dropzero.race"; // the made-up buyers whose orders are yet to be cancelled
const VERSION_DEADLINE = 1000; // ms for the live stock to show what a round did

const form = document.getElementById("race");
const start = form.querySelector("button");
const notice = document.getElementById("notice");
const progress = document.getElementById("progress");
const rows = document.querySelector(".results tbody");
const [before, sold, after, verdict, returned] = document.querySelectorAll("#sum dd");

let regions = [];
let running = false;
let latest = { version: 0 }; // of the product that is raced for
let heard = () => {};
const watch = new StockWatch({
  onChange(change) {
    latest = change;
    heard();
  },
  onLost() {},
  onDoubt: () => Promise.resolve(),
});

function say(key, values) {
  notice.textContent = text(key, values);
  notice.hidden = false;
}

function offer(enabled) {
  start.setAttribute("aria-disabled", String(!enabled));
}

function clearBoard() {
  const row = () => {
    const cells = [document.createElement("th"), ...Array.from({ length: 3 }, () => document.createElement("td"))];
    cells[0].scope = "row";
    for (const cell of cells) cell.textContent = "–";
    const made = document.createElement("tr");
    made.append(...cells);
    return made;
  };
  rows.replaceChildren(...Array.from({ length: ROUNDS }, row));
  for (const cell of [before, sold, after, verdict, returned]) cell.textContent = "–";
  for (const [index, made] of [...rows.children].entries()) made.firstChild.textContent = number(index + 1);
}

async function stockInEach(id) {
  const { one, two } = await ask(STOCK, { id, one: regions[0], two: regions[1] });
  return [one.stock, two.stock];
}

// One purchase through each Region, both under way before either is answered.
async function runRound(productId, kind, round) {
  const shared = { buyer: randomKey(), key: randomKey() };
  const entries = regions.map((region) => ({
    region,
    ...(kind === "key" ? shared : { buyer: randomKey(), key: randomKey() }),
  }));
  toReturn([...unreturned(), ...new Set(entries.map(({ buyer }) => buyer))]);
  // Whoever is sent first is ahead by some microseconds: it is the other one in every round.
  const order = round % 2 ? [0, 1] : [1, 0];
  const finishes = [];
  await Promise.all(
    order.map(async (lane) => {
      const { region, buyer, key } = entries[lane];
      const sent = performance.now();
      const outcome = await decide({ productId, userRef: buyer, region, idempotencyKey: key });
      finishes[lane] = { outcome, latency: performance.now() - sent };
    }),
  );
  return finishes;
}

// Until the live stock has moved past this version, or long enough: it is here to be seen, and decides nothing.
function versionAfter(version) {
  if (latest.version > version) return Promise.resolve();
  return Promise.race([new Promise((resolve) => (heard = resolve)), pause(VERSION_DEADLINE)]);
}

const isConfirmed = ({ outcome }) => outcome.status === "CONFIRMED";
const isNew = (finish) => isConfirmed(finish) && !finish.outcome.replayed;

// Which lane was first in the order of commits, or -1.
function winner(finishes) {
  const left = finishes.map((finish) => (isNew(finish) ? finish.outcome.remaining : -1));
  return Math.max(...left) < 0 ? -1 : left.indexOf(Math.max(...left));
}

function describe(finish, kind) {
  const { status, order, remaining, replayed } = finish.outcome;
  if (status === "SOLD_OUT") return text("sold_out");
  if (status !== "CONFIRMED") return text("race_no_sale");
  if (kind === "key") return `${order.id.slice(0, 8)} ${text(replayed ? "race_same_order" : "race_new_order")}`;
  return text("race_unit", { unit: remaining + 1 });
}

function showRound(row, finishes, kind) {
  const first = winner(finishes);
  for (const [lane, finish] of finishes.entries()) {
    const cell = row.children[lane + 1];
    const latency = document.createElement("small");
    latency.textContent = text("milliseconds", { count: Math.round(finish.latency) });
    cell.replaceChildren(describe(finish, kind), " ", latency);
    cell.classList.toggle("first", lane === first);
  }
}

async function race(productId, kind) {
  clearBoard();
  notice.hidden = true;
  latest = { version: 0 };
  watch.watch([productId]);
  await versionAfter(0);
  const [atFirst] = await stockInEach(productId);
  before.textContent = number(atFirst);
  const finishes = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress.textContent = text("race_running", { round, rounds: ROUNDS });
    const { version } = latest;
    const finished = await runRound(productId, kind, round);
    finishes.push(...finished);
    const row = rows.children[round - 1];
    showRound(row, finished, kind);
    if (finished.some(isNew)) await versionAfter(version);
    row.lastChild.textContent = latest.version ? number(latest.version) : "–";
    sold.textContent = number(finishes.filter(isNew).length);
    if (!finished.some(isConfirmed)) break;
  }
  await sumUp(productId, atFirst, finishes);
}

async function sumUp(productId, atFirst, finishes) {
  const sales = finishes.filter(isNew);
  const inEach = await stockInEach(productId);
  after.textContent = inEach.map(number).join(" · ");
  const orders = new Set(finishes.filter(isConfirmed).map(({ outcome }) => outcome.order.id));
  const units = new Set(sales.map(({ outcome }) => outcome.remaining));
  const others = atFirst - sales.length - inEach[0];
  let result = "sum_exact";
  if (orders.size !== sales.length || units.size !== sales.length || inEach[0] !== inEach[1]) result = "sum_wrong";
  else if (others !== 0) result = "sum_others";
  verdict.textContent = text(result, { count: Math.abs(others) });
  verdict.dataset.result = result;
  progress.textContent = text("race_done");
  announce(`${text("race_done")} ${verdict.textContent}`);
}

const unreturned = () => JSON.parse(lasting.getItem(TO_RETURN)) ?? [];
const toReturn = (buyers) => lasting.setItem(TO_RETURN, JSON.stringify(buyers));

// Cancels what the made-up buyers hold, also those of a race that this browser broke off earlier.
async function returnUnits() {
  let count = 0;
  for (const buyer of unreturned()) {
    const { orders } = await ask(ORDERS, { buyer });
    for (const { node } of orders.edges) {
      if (node.status !== "CONFIRMED") continue;
      await ask(CANCEL, { input: { orderId: node.id, userRef: buyer } });
      count += 1;
    }
    toReturn(unreturned().filter((other) => other !== buyer));
  }
  return count;
}

function lineUp(products) {
  const ready = products.filter(({ stock, opensAt }) => stock > 0 && !(Date.parse(opensAt) > now()));
  const options = ready.map(({ id, name, dropName }) => new Option(`${name} · ${dropName}`, id));
  form.product.replaceChildren(...options);
  form.product.disabled = options.length === 0;
  if (regions.length < 2) say("race_one_region");
  else if (options.length === 0) say("race_no_product");
  offer(regions.length >= 2 && options.length > 0);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running || start.getAttribute("aria-disabled") === "true") return;
  running = true;
  offer(false);
  try {
    await race(form.product.value, form.elements.kind.value);
    returned.textContent = number(await returnUnits());
  } catch {
    say("race_broken_off");
  }
  running = false;
  offer(true);
});

clearBoard();
for (let failures = 0; regions.length === 0; failures += 1) {
  try {
    const course = await ask(COURSE);
    regions = course.regions.map(({ name }) => name);
    for (const place of document.querySelectorAll("[data-region]")) {
      const name = regions[place.dataset.region];
      (place.querySelector("bdi") ?? place).textContent = name ?? "–";
    }
    lineUp(course.products.edges.map(({ node }) => node));
    notice.hidden = !start.matches("[aria-disabled=true]");
    performance.mark("interactive");
  } catch {
    say("unreachable");
    await pause(backoff(failures));
  }
}
await returnUnits().catch(() => {}); // what is left is returned when the page is opened again
