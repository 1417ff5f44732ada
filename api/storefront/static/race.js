// The race through two Regions: real purchases at the same instant, the outcome of each, and whether the sum is right.

import { StockWatch, pause, request } from "./api.js";
import { announce, number, text } from "./locale.js";
import { decide, randomKey } from "./purchase.js";

const STOCK = `query Stock($id: ID!, $one: String!, $two: String!) {
  one: product(id: $id, region: $one) { stock }
  two: product(id: $id, region: $two) { stock }
}`;

const ROUNDS = 10;
const DEADLINE = 20_000; // ms until the product has to be ready
const VERSION_DEADLINE = 1000; // ms until the live stock has to show a round's purchases
const REASONS = { SOLD_OUT: "sold_out", NOT_OPEN: "not_open_yet", UNANSWERED: "answer_unanswered" };

const form = document.getElementById("race");
const start = form.querySelector("button");
const notice = document.getElementById("notice");
const progress = document.getElementById("progress");
const rows = document.querySelector(".results tbody");
const [before, sold, after, verdict] = document.querySelectorAll("#sum dd");

const regions = JSON.parse(form.dataset.regions);
let running = false;
let latest = { version: 0 }; // the latest change of the product that is raced for
let onVersion = () => {};
const watch = new StockWatch({
  onChange(change) {
    latest = change;
    onVersion();
  },
  onLost() {},
  async onMissed() {},
});

function showNotice(key) {
  notice.textContent = text(key);
  notice.hidden = false;
}

function enableStart(enabled) {
  start.setAttribute("aria-disabled", String(!enabled));
}

function clearResults() {
  const { content } = document.getElementById("round");
  rows.replaceChildren(...Array.from({ length: ROUNDS }, () => content.cloneNode(true)));
  for (const cell of [before, sold, after, verdict]) cell.textContent = "–";
  for (const [index, row] of [...rows.children].entries()) row.firstChild.textContent = number(index + 1);
}

async function stockInEach(id) {
  const { one, two } = await request(STOCK, { id, one: regions[0], two: regions[1] });
  return [one.stock, two.stock];
}

// Sends one purchase through each Region, both before either is answered. Returns how the two ended, in the order in
// which they were answered. `lane` is the index of the Region, and `time` is the ms from the start of the round.
async function runRound(productId, kind, round) {
  const shared = { buyer: randomKey(), key: randomKey() };
  const entries = regions.map((region) => ({
    region,
    ...(kind === "key" ? shared : { buyer: randomKey(), key: randomKey() }),
  }));
  // The purchase that is sent first is some microseconds ahead, so the Regions take turns at it.
  const order = round % 2 ? [0, 1] : [1, 0];
  const finishes = [];
  const started = performance.now();
  await Promise.all(
    order.map(async (lane) => {
      const { region, buyer, key } = entries[lane];
      const outcome = await decide({ productId, userRef: buyer, region, idempotencyKey: key });
      finishes.push({ lane, outcome, time: performance.now() - started });
    }),
  );
  return finishes;
}

// Waits until the live stock is past this version, for at most VERSION_DEADLINE. The version is only shown; it decides
// nothing.
function versionAfter(version) {
  if (latest.version > version) return Promise.resolve();
  const arrived = new Promise((resolve) => {
    onVersion = () => latest.version > version && resolve();
  });
  return Promise.race([arrived, pause(VERSION_DEADLINE)]);
}

// A hold has its units as a confirmed order has.
const isSold = ({ status }) => status === "CONFIRMED" || status === "HELD";
const isConfirmed = ({ outcome }) => isSold(outcome);
const isNew = (finish) => isConfirmed(finish) && !finish.outcome.replayed;

// What a finish says. `orders` are the ids of all orders of the race, in the order in which they were confirmed.
function describe({ outcome }, kind, orders) {
  const { status, order, replayed } = outcome;
  if (!isSold(outcome)) return text(REASONS[status] ?? "race_no_sale");
  if (kind === "key") return `${order.reference.slice(0, 9)} ${text(replayed ? "race_same_order" : "race_new_order")}`;
  return text("race_sale", { sale: [...orders].indexOf(order.id) + 1 });
}

function showRound(row, finishes, kind, orders) {
  const first = finishes.find(isConfirmed);
  for (const finish of finishes) {
    const cell = row.children[finish.lane + 1];
    const time = document.createElement("small");
    time.textContent = text("milliseconds", { count: Math.round(finish.time) });
    cell.replaceChildren(describe(finish, kind, orders), " ", time);
    cell.classList.toggle("first", finish === first);
  }
}

// The product of all races. The server makes sure that it has units for one.
async function readyProduct() {
  const answer = await fetch("/race", { method: "POST", signal: AbortSignal.timeout(DEADLINE) });
  if (!answer.ok) throw new Error("no product to race for");
  return (await answer.json()).productId;
}

async function race(kind) {
  clearResults();
  notice.hidden = true;
  const productId = await readyProduct();
  latest = { version: 0 };
  watch.watch([productId]);
  await versionAfter(0);
  const [stockBefore] = await stockInEach(productId);
  before.textContent = number(stockBefore);
  const rounds = [];
  const orders = new Set();
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress.textContent = text("race_running", { round, rounds: ROUNDS });
    const { version } = latest;
    const finishes = await runRound(productId, kind, round);
    rounds.push(finishes);
    for (const { outcome } of finishes.filter(isConfirmed)) orders.add(outcome.order.id);
    const row = rows.children[round - 1];
    showRound(row, finishes, kind, orders);
    if (finishes.some(({ outcome }) => outcome.status === "UNANSWERED")) throw new Error("a purchase has no answer");
    if (finishes.some(isConfirmed)) await versionAfter(version);
    row.lastChild.textContent = latest.version ? number(latest.version) : "–";
    sold.textContent = number(orders.size);
    if (!finishes.some(isConfirmed)) break;
  }
  await sumUp(productId, stockBefore, rounds, kind, orders);
}

// Whether every purchase that was confirmed has one order, which no other has. A replayed answer is about the order that
// an earlier request of the same purchase wrote.
function oneOrderEach(rounds, kind, orders) {
  const confirmed = rounds.map((finishes) => finishes.filter(isConfirmed));
  const purchases = kind === "key" ? confirmed.filter(({ length }) => length > 0) : confirmed.flat();
  return orders.size === purchases.length && confirmed.flat().filter(isNew).length <= orders.size;
}

async function sumUp(productId, stockBefore, rounds, kind, orders) {
  const inEach = await stockInEach(productId);
  after.textContent = inEach.map(number).join(" · ");
  const movedByOthers = stockBefore - orders.size - inEach[0];
  const oversold = orders.size > stockBefore;
  const undersold = inEach[0] > 0 && rounds.flat().some(({ outcome }) => outcome.status === "SOLD_OUT");
  let result = "sum_exact";
  if (!oneOrderEach(rounds, kind, orders)) result = "sum_wrong";
  // Others who buy and cancel during the race can cause this. Without them it is a defect.
  else if (oversold || undersold || inEach[0] !== inEach[1]) result = "sum_doubtful";
  else if (movedByOthers !== 0) result = "sum_others";
  verdict.textContent = text(result, { count: Math.abs(movedByOthers) });
  verdict.dataset.result = result;
  progress.textContent = text("race_done");
  announce(`${text("race_done")} ${verdict.textContent}`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running || start.getAttribute("aria-disabled") === "true") return;
  running = true;
  enableStart(false);
  try {
    await race(form.elements.kind.value);
  } catch {
    showNotice("race_broken_off");
  }
  running = false;
  enableStart(true);
});

clearResults();
enableStart(regions.length > 1);
performance.mark("interactive");
