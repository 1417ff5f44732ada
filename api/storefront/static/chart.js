// Charts of what happened over time: SVG with two axes, a legend, a value for each moment by pointer or arrow key, and
// the same numbers as a table. Time runs from left to right in every language, as in a stock chart of any country.

import { language, setText, text } from "./locale.js";

const MOST = 240; // points that are drawn
const HEIGHT = 180; // px of the plot, the axes not included
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 10, 8, 24]; // px around it
const LINE = 44; // px from one line of the grid to the next, at least
const LABEL = 96; // px from one moment of the axis to the next, at least
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400]; // s

const compact = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const listed = new Intl.ListFormat(language, { type: "unit" });
const clockWith = (more) => new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", ...more });
const minutes = clockWith({});
const seconds = clockWith({ second: "2-digit" });

// Round numbers from 0 to at least `most`: steps of 1, 2 or 5 times a power of ten, `count` of them or fewer.
export function roundNumbers(most, count) {
  const least = Math.max(most, 1e-9) / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= least * (1 - 1e-9));
  return Array.from({ length: Math.max(1, Math.ceil(most / step - 1e-9)) + 1 }, (_, index) => index * step);
}

// Round moments in a span of time, in ms, `count` of them or fewer: full hours and days are those of this time zone.
export function roundMoments(from, to, count) {
  const span = (to - from) / 1000;
  const step = 1000 * (STEPS.find((size) => span / size <= count) ?? 86_400 * Math.ceil(span / 86_400 / count));
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const moments = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) moments.push(at);
  return { moments, step };
}

// As many points as can be seen: neighbours are joined by `join` until there are MOST or fewer.
export function condense(points, join) {
  const size = Math.ceil(points.length / MOST);
  if (size <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, index) =>
    join(points.slice(index * size, (index + 1) * size)),
  );
}

export class Chart {
  #points = [];
  #chosen = null; // the `at` of the point whose values are shown

  // `series`: the `key` of a value, its `label`, and the `name` of its colour and pattern. `kind` is "bars" for values
  // that are stacked, "levels" for values of an interval, or "steps" for those at its end. `whole`: the values are whole.
  constructor({ title, series, kind, whole = false }) {
    Object.assign(this, { title, series, kind, whole });
    this.element = document.getElementById("chart").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    Object.assign(this, { svg: part("svg"), plot: part(".plot"), tip: part(".tip"), details: part("details") });
    part("h3").textContent = title;
    this.plot.setAttribute("aria-label", title);
    part(".scroll").setAttribute("aria-label", title);
    part(".legend").append(...series.map((one) => this.#legend(one)));
    this.grid = this.#shape("g", { class: "grid" });
    this.drawn = series.map(({ name }) => this.#shape("path", { class: `${kind} ${name}` }));
    if (kind === "bars") this.drawn.forEach((path, index) => path.setAttribute("fill", this.#hatch(series[index])));
    this.cursor = this.#shape("path", { class: "cursor" });
    this.svg.append(this.grid, ...this.drawn, this.cursor);
    part("thead tr").append(...[text("operator_time"), ...series.map(({ label }) => label)].map(headCell));
    this.#listen();
  }

  // Draws the points, oldest first: `at` in ms, `seconds`, and the values by key. `from` and `to` in ms are the axis.
  render(points, from, to) {
    Object.assign(this, { from, to });
    this.#points = points;
    this.draw();
    this.#describe();
    if (this.details.open) this.#fillTable();
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width || this.to === undefined) return;
    this.width = width;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${TOP + HEIGHT + BOTTOM}`);
    this.#axes();
    const draw = this.kind === "bars" ? this.#bars() : this.series.map(({ key }) => this.#line(key));
    draw.forEach((d, index) => this.drawn[index].setAttribute("d", d));
    this.#showChosen();
  }

  #x = (at) => tenths(LEFT + (within(at, this.from, this.to) / (this.to - this.from)) * (this.width - LEFT - RIGHT));
  #y = (value) => tenths(TOP + HEIGHT * (1 - value / this.top));
  #value = (point, key) => point.values[key] ?? null;

  #axes() {
    const sums = this.#points.map((point) => {
      const values = this.series.map(({ key }) => this.#value(point, key) ?? 0);
      return this.kind === "bars" ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
    });
    const most = Math.max(this.whole ? 1 : 0.1, ...sums);
    const numbers = roundNumbers(most, this.whole ? Math.min(most, HEIGHT / LINE) : HEIGHT / LINE);
    this.top = numbers.at(-1);
    const lines = numbers.map((value) =>
      this.#shape("path", { d: `M${LEFT} ${this.#y(value)}H${this.width - RIGHT}` }),
    );
    const labels = numbers.map((value) => this.#label(compact.format(value), LEFT - 8, this.#y(value) + 4, "end"));
    const { moments, step } = roundMoments(this.from, this.to, (this.width - LEFT - RIGHT) / LABEL);
    const clock = step < 60_000 ? seconds : minutes;
    const times = moments
      .filter((at) => this.#x(at) > LEFT + 20 && this.#x(at) < this.width - RIGHT - 24)
      .map((at) => this.#label(clock.format(at), this.#x(at), TOP + HEIGHT + 17, "middle"));
    this.grid.replaceChildren(...lines, ...labels, ...times);
  }

  // A line through the values. A level lasts for its interval, and there is a gap where a point has none. A step is
  // reached at the end of its interval, and lasts until the next one.
  #line(key) {
    const isStep = this.kind === "steps";
    let path = "";
    let isOpen = false;
    for (const point of this.#points) {
      const value = this.#value(point, key);
      if (value !== null) {
        const [from, to, y] = [point.at, point.at + point.seconds * 1000].map(this.#x).concat(this.#y(value));
        if (!isOpen) path += `M${from} ${y}H${to}`;
        else path += isStep ? `H${to}V${y}` : `V${y}H${to}`;
      }
      isOpen = value !== null || (isOpen && isStep);
    }
    return isStep && path ? `${path}H${this.#x(this.to)}` : path;
  }

  // The outlines of the bars of each series. Each bar stands on the bars of the series before.
  #bars() {
    const paths = this.series.map(() => "");
    for (const point of this.#points) {
      const [left, right] = [point.at, point.at + point.seconds * 1000].map(this.#x);
      let sum = 0;
      for (const [index, { key }] of this.series.entries()) {
        const value = this.#value(point, key);
        if (!value) continue;
        paths[index] += `M${left} ${this.#y(sum)}V${this.#y(sum + value)}H${right}V${this.#y(sum)}Z`;
        sum += value;
      }
    }
    return paths;
  }

  // The text alternative: what the chart shows, and its latest values.
  #describe() {
    const latest = this.#points.at(-1);
    const label = latest
      ? text("operator_latest", { title: this.title, values: this.#inWords(latest) })
      : text("operator_nothing", { title: this.title });
    if (this.svg.getAttribute("aria-label") !== label) this.svg.setAttribute("aria-label", label);
  }

  #inWords(point) {
    const values = this.series.map(({ key, label }) => `${label} ${shown(this.#value(point, key))}`);
    return listed.format([seconds.format(point.at), ...values]);
  }

  #fillTable() {
    const rows = this.#points.toReversed().map((point) => {
      const row = document.createElement("tr");
      const time = headCell(seconds.format(point.at));
      time.scope = "row";
      row.append(time, ...this.series.map(({ key }) => cell(shown(this.#value(point, key)))));
      return row;
    });
    this.element.querySelector("tbody").replaceChildren(...rows);
  }

  #listen() {
    new ResizeObserver(() => this.plot.clientWidth !== this.width && this.draw()).observe(this.plot);
    this.details.addEventListener("toggle", () => this.details.open && this.#fillTable());
    this.plot.addEventListener("pointermove", ({ clientX }) => {
      const x = clientX - this.svg.getBoundingClientRect().left;
      const middle = ({ at, seconds }) => Math.abs(this.#x(at + seconds * 500) - x);
      this.#choose(
        this.#points.reduce((best, point) => (middle(point) < middle(best) ? point : best), this.#points[0]),
      );
    });
    this.plot.addEventListener("pointerleave", () => this.#choose(undefined));
    this.plot.addEventListener("blur", () => this.#choose(undefined));
    this.plot.addEventListener("keydown", (event) => {
      const last = this.#points.length - 1;
      const from = this.#chosen === null ? last + 1 : this.#points.indexOf(this.#chosenPoint());
      const to = {
        ArrowLeft: Math.max(0, from - 1),
        ArrowRight: Math.min(last, from + 1),
        Home: 0,
        End: last,
        Escape: -1,
      };
      if (!(event.key in to)) return;
      event.preventDefault();
      this.#choose(this.#points[to[event.key]]);
    });
  }

  #choose(point) {
    this.#chosen = point?.at ?? null;
    this.#showChosen();
  }

  // The chosen point, or the one that it has become a part of since.
  #chosenPoint() {
    return this.#chosen === null ? undefined : this.#points.findLast(({ at }) => at <= this.#chosen);
  }

  // Shows the values of the chosen point beside its moment, on the side that has room.
  #showChosen() {
    const point = this.#chosenPoint();
    this.tip.hidden = !point;
    this.cursor.setAttribute("d", point ? `M${this.#middle(point)} ${TOP}V${TOP + HEIGHT}` : "");
    if (!point) return;
    const lines = [
      seconds.format(point.at),
      ...this.series.map((one) => `${one.label}: ${shown(this.#value(point, one.key))}`),
    ];
    if (lines.join() !== this.lines?.join()) this.tip.replaceChildren(...lines.map(paragraph));
    this.lines = lines;
    const x = this.#middle(point);
    const width = this.tip.offsetWidth;
    this.tip.style.left = `${x + 12 + width > this.width ? Math.max(0, x - 12 - width) : x + 12}px`;
  }

  #middle = ({ at, seconds }) => this.#x(at + seconds * 500);

  #legend(one) {
    const item = document.createElement("li");
    const sign = this.#shape("svg", { viewBox: "0 0 28 12", "aria-hidden": "true" });
    if (this.kind === "bars") sign.append(this.#shape("rect", { width: 28, height: 12, fill: this.#hatch(one) }));
    else sign.append(this.#shape("path", { class: `${this.kind} ${one.name}`, d: "M0 6H28" }));
    item.append(sign, one.label);
    return item;
  }

  #hatch = ({ name }) => `url(#hatch-${name})`;

  #label(content, x, y, anchor) {
    const label = this.#shape("text", { x, y, "text-anchor": anchor });
    label.textContent = content;
    return label;
  }

  #shape(name, attributes) {
    const shape = document.createElementNS(this.svg.namespaceURI, name);
    for (const [attribute, value] of Object.entries(attributes)) shape.setAttribute(attribute, value);
    return shape;
  }
}

const within = (at, from, to) => Math.min(to, Math.max(from, at)) - from; // ms
const tenths = (pixels) => Math.round(pixels * 10) / 10;
const shown = (value) => (value === null ? "–" : exact.format(value));

function paragraph(content) {
  return Object.assign(document.createElement("p"), { textContent: content });
}

function headCell(content) {
  return Object.assign(document.createElement("th"), { scope: "col", textContent: content });
}

function cell(content) {
  const element = document.createElement("td");
  setText(element, content);
  return element;
}
