// What the example in docs/frontend.md needs of a page: a WebSocket, a product, and a place to show its stock. The
// example's times pass faster, and each of them is recorded. Argument: the product. One of the functions below is called
// after the example.
import WebSocket from 'ws';
import { perform, saw } from './session.mjs';

const DEADLINE = 10_000; // ms, for an answer; it is shortened less, for a machine that is busy
const KEEP_ALIVE = 20_000; // ms
const CLOSE_TIMEOUT = 30_000; // ms, of the package ws
const FASTER = 50;
const DEADLINE_FASTER = 5 / Number(process.env.TEST_TIME_FACTOR ?? 1);

globalThis.productId = process.argv[2];

const waits = [];
const inTime = globalThis.setTimeout;
globalThis.setTimeout = (callback, milliseconds, ...more) => {
  waits.push(milliseconds);
  arrived();
  return inTime(callback, milliseconds / (milliseconds === DEADLINE ? DEADLINE_FASTER : FASTER), ...more);
};

const sockets = [];
const received = [];
globalThis.WebSocket = class extends WebSocket {
  constructor(...more) {
    super(...more);
    sockets.push(this);
    this.on('error', () => {}); // a browser's page gets errors only where it has a listener
    this.on('message', (message) => {
      received.push(JSON.parse(message).type);
      arrived();
    });
  }
};

const shown = [];
globalThis.show = ({ stock }) => {
  shown.push(stock);
  arrived();
};

let arrived = () => {};
async function until(condition) {
  while (!condition()) await new Promise((resolve) => (arrived = resolve));
}
const shows = (stock) => until(() => shown.at(-1) === stock);

const pauses = (from) => waits.slice(from).filter((wait) => ![DEADLINE, KEEP_ALIVE, CLOSE_TIMEOUT].includes(wait));

export async function gone() {
  await shows(100);
  const before = waits.length;
  await perform('stop');
  await until(() => pauses(before).length >= 12);
  const long = pauses(before);
  await perform('start');
  await shows(99);
  saw('the longest pause is capped', Math.max(...long) <= 20_000);
  saw('pauses grow', Math.max(...long.slice(0, 2)) < Math.min(...long.slice(8)));
  saw('pauses differ', new Set(long.slice(8)).size > 1);
}

export async function silent() {
  await shows(100);
  const before = sockets.length;
  await perform('silence');
  await shows(99);
  saw('it has reconnected', sockets.length > before);
}

export async function mute() {
  await perform('speak');
  await shows(100);
  saw('it has reconnected', sockets.length > 1);
}

export async function away() {
  await shows(100);
  await perform('away');
  await until(() => received.includes('error'));
  await perform('back');
  await shows(99);
  saw('it watches again', true);
}
