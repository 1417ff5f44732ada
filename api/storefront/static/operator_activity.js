// What happens in a drop, live and from its beginning: the charts, the figures, the Regions and the processes.

import { Subscription, now } from "./api.js";
import { Chart, condense } from "./chart.js";
import { language, number, setText, text } from "./locale.js";
import { emptyRow, fillRows, isolate } from "./operator_parts.js";
import { ask, signOut, token } from "./operator_session.js";

const HISTORY = `query DropHistory($id: ID!) {
  dropHistory(productId: $id) {
    at seconds stock confirmed held soldOut limitReached notOpen paused closed cancelled busy failed
    p50Ms p99Ms attempts transactions conflicts
  }
}`;
const ACTIVITY = `subscription DropActivity($id: ID!) {
  dropActivity(productId: $id) {
    at heldUnits heldOrders lapsing watchers
    product { stock revision }
    points {
      at seconds stock confirmed held soldOut limitReached notOpen paused closed cancelled busy failed
      p50Ms p99Ms attempts transactions conflicts
    }
    processes { name version seenAt watchers waiting latenessMs regions { name away latencyMs } }
    regions { name home healthy latencyMs }
  }
}`;
const COUNTS = [
  "confirmed",
  "held",
  "soldOut",
  "limitReached",
  "notOpen",
  "paused",
  "closed",
  "cancelled",
  "busy",
  "failed",
];
const SUMS = [...COUNTS, "attempts", "transactions", "conflicts"];
const REFUSED = ["limitReached", "notOpen", "paused", "closed", "cancelled"];
const FINAL_CODES = ["BAD_USER_INPUT", "FORBIDDEN", "NOT_FOUND"]; // of a subscription that is refused for good
const KEPT = 2400; // points that the page keeps: more than an hour of two seconds each
const QUIET = { ...Object.fromEntries(SUMS.map((key) => [key, 0])), at: 0, seconds: 0, p50Ms: null, p99Ms: null };
const ages = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const LENGTHS = Object.entries({ day: 86_400, hour: 3600, minute: 60, second: 1 }); // of units, in seconds
const SHORTEST = 60_000; // ms that the charts show at least
const RATE_OVER = 10_000; // ms over which the present rate of purchases is taken

// How long ago it was, in the largest unit that fits. Less than a second is just now.
function ago(milliseconds) {
  if (milliseconds < 1000) return text("just_now");
  const seconds = milliseconds / 1000;
  const [unit, length] = LENGTHS.find(([, length]) => seconds >= length);
  return ages.format(-Math.floor(seconds / length), unit);
}

const range = document.getElementById("range");
const connection = document.getElementById("connection");
let points = []; // oldest first, each from the server, with its `at` in ms
let latest = null; // the latest event

const sum = (values) => values.reduce((total, value) => total + value, 0);
const most = (values) => values.reduce((top, value) => (value === null ? top : Math.max(top, value)), null);

// The points of neighbouring intervals as one. Its latencies are those of the slowest interval: medians cannot be added.
export function join(some) {
  const [first, last] = [some[0], some.at(-1)];
  const sums = Object.fromEntries(SUMS.map((key) => [key, sum(some.map((point) => point[key]))]));
  const stock = some.findLast((point) => point.stock !== null)?.stock ?? null;
  const seconds = (last.at - first.at) / 1000 + last.seconds;
  const slowest = { p50Ms: most(some.map(({ p50Ms }) => p50Ms)), p99Ms: most(some.map(({ p99Ms }) => p99Ms)) };
  return { at: first.at, seconds, stock, ...sums, ...slowest };
}

// Takes newer points: they replace those from their first moment on, and a longer one that reaches into it. Of more than
// KEPT points, those of the older half are joined in pairs.
export function merge(known, newer) {
  if (newer.length === 0) return known;
  const begin = newer[0].at;
  const all = [...known.filter(({ at, seconds }) => at + seconds * 1000 <= begin + 1), ...newer];
  if (all.length <= KEPT) return all;
  const pairs = Array.from({ length: KEPT / 4 }, (_, index) => join(all.slice(index * 2, index * 2 + 2)));
  return [...pairs, ...all.slice(KEPT / 2)];
}

const received = (found) => found.map((point) => ({ ...point, at: Date.parse(point.at) }));

const perSecond = (key) => (point) => point[key] / point.seconds;
const VALUES = {
  stock: ({ stock }) => stock,
  confirmed: perSecond("confirmed"),
  held: perSecond("held"),
  soldOut: perSecond("soldOut"),
  notAllowed: (point) => sum(REFUSED.map((key) => point[key])) / point.seconds,
  busy: perSecond("busy"),
  failed: perSecond("failed"),
  p50: ({ p50Ms }) => p50Ms,
  p99: ({ p99Ms }) => p99Ms,
  transactions: perSecond("transactions"),
  conflicts: perSecond("conflicts"),
  attempts: (point) => {
    const purchases = sum(COUNTS.map((key) => point[key]));
    return purchases > 0 ? point.attempts / purchases : null;
  },
};

const one = (key, label, name) => ({ key, label: text(label), name });
const charts = [
  new Chart({
    title: text("operator_stock_chart"),
    kind: "steps",
    whole: true,
    series: [one("stock", "stock", "first")],
  }),
  new Chart({
    title: text("operator_purchases_chart"),
    kind: "bars",
    series: [
      one("confirmed", "confirmed", "confirmed"),
      one("held", "held", "held"),
      one("soldOut", "sold_out", "sold-out"),
      one("notAllowed", "operator_not_allowed", "not-allowed"),
      one("busy", "operator_busy", "busy"),
      one("failed", "operator_failed", "failed"),
    ],
  }),
  new Chart({
    title: text("operator_latency_chart"),
    kind: "levels",
    series: [one("p50", "operator_p50", "first"), one("p99", "operator_p99", "second")],
  }),
  new Chart({
    title: text("operator_transactions_chart"),
    kind: "levels",
    series: [
      one("transactions", "operator_transactions", "first"),
      one("conflicts", "operator_conflicts", "second"),
      one("attempts", "operator_attempts", "third"),
    ],
  }),
];

// Intervals without activity have no point. In them the curves fall to zero, and the stock stays as it was.
export function fillGaps(known, to) {
  const filled = [];
  let stock = null;
  let end = known[0]?.at ?? to;
  for (const point of [...known, { at: to }]) {
    if (point.at - end > 1) filled.push({ ...QUIET, at: end, seconds: (point.at - end) / 1000, stock });
    if (point.seconds === undefined) break;
    stock = point.stock ?? stock;
    end = point.at + point.seconds * 1000;
    filled.push({ ...point, stock });
  }
  return filled;
}

function render() {
  const to = latest ? Date.parse(latest.at) : now();
  const first = points[0]?.at ?? to;
  const from = Math.min(to - SHORTEST, Math.max(first, to - Number(range.value) * 1000));
  const seen = condense(
    fillGaps(points, to).filter((point) => point.at + point.seconds * 1000 > from),
    join,
  );
  const drawn = seen.map((point) => ({
    ...point,
    values: Object.fromEntries(Object.entries(VALUES).map(([key, value]) => [key, value(point)])),
  }));
  for (const chart of charts) chart.render(drawn, from, to);
}

function figure(name, value) {
  setText(document.querySelector(`[data-figure=${name}]`), value);
}

function showFigures({ at, product, heldUnits, heldOrders, lapsing, watchers }) {
  figure("stock", number(product.stock));
  figure("heldUnits", number(heldUnits));
  figure("heldOrders", number(heldOrders));
  figure("lapsing", number(lapsing));
  figure("watchers", number(watchers));
  const recent = points.filter((point) => point.at + point.seconds * 1000 > Date.parse(at) - RATE_OVER);
  const purchases = sum(recent.flatMap((point) => COUNTS.map((key) => point[key])));
  figure("rate", number(Math.round((purchases * 10_000) / RATE_OVER) / 10));
}

const milliseconds = (value) => (value === null ? "–" : text("milliseconds", { count: Math.round(value * 10) / 10 }));

function showMachines({ regions, processes }) {
  fillRows(
    document.querySelector("#regions tbody"),
    regions,
    ({ name }) => name,
    () => emptyRow(3),
    (row, region) => {
      isolate(row.children[0], region.name);
      setText(row.children[1], text(region.healthy ? "operator_healthy" : "operator_away"));
      row.children[1].dataset.healthy = region.healthy;
      setText(row.children[2], milliseconds(region.latencyMs));
    },
  );
  fillRows(
    document.querySelector("#processes tbody"),
    processes,
    ({ name }) => name,
    () => emptyRow(5),
    (row, process) => {
      const away = process.regions.filter((region) => region.away).map(({ name }) => name);
      isolate(row.children[0], process.name);
      row.children[0].title = process.version;
      const seen = ago(now() - Date.parse(process.seenAt));
      setText(row.children[1], away.length ? `${seen} · ${text("operator_away")}: ${away.join(" ")}` : seen);
      setText(row.children[2], number(process.watchers));
      setText(row.children[3], number(process.waiting));
      setText(row.children[4], milliseconds(process.latenessMs));
    },
  );
}

export function showConnection(live) {
  setText(connection, text(live ? "live" : "reconnecting"));
  connection.classList.toggle("live", live);
}

// Watches a product. `onEvent` gets each event, and the purchases in the points that are new in it. `onRefused` is
// called where there is no activity: the server keeps none, or the caller may not read it.
export function watchActivity(id, { onEvent, onRefused }) {
  document.getElementById("charts").append(...charts.map(({ element }) => element));
  const readHistory = async () => {
    const { dropHistory } = await ask(HISTORY, { id });
    points = merge(received(dropHistory), points);
    render();
  };
  let history; // the reading of it, which is tried again at the next event if it fails
  const live = new Subscription(ACTIVITY, {
    payload: { authorization: `Bearer ${token()}` },
    onData({ dropActivity }) {
      const known = JSON.stringify(points.at(-1));
      latest = dropActivity;
      points = merge(points, received(dropActivity.points));
      showConnection(true);
      showFigures(dropActivity);
      showMachines(dropActivity);
      render();
      onEvent(dropActivity, JSON.stringify(points.at(-1)) !== known);
      // The history is read after the subscription has begun, so that nothing is missing between the two.
      history ??= readHistory().catch(() => (history = undefined));
    },
    onLost: () => showConnection(false),
    onMissed: readHistory,
    onEnd(payload) {
      const [error] = payload?.errors ?? payload ?? [];
      if (error?.extensions.code === "UNAUTHENTICATED") signOut("operator_expired");
      if (!FINAL_CODES.includes(error?.extensions.code)) return false;
      onRefused(error.message);
      return true;
    },
  });
  live.start({ id });
  range.addEventListener("change", render);
}
