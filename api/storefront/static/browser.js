// What this browser keeps: values in its storages, and the guest who buys in it.

import { pause, request } from "./api.js";

const GUEST = `mutation BecomeGuest { guest { token subject } }`;
const KEPT_GUEST = "dropzero.guest";
const SETTLING = 200; // ms; a browser shows what one tab has stored to other tabs a moment later

// One of the browser's storages. Where it is forbidden or full, the values are kept in memory until the page is closed.
class Store {
  #storage;
  #inMemory = new Map();

  constructor(storage) {
    this.#storage = storage;
  }

  getItem(name) {
    if (this.#inMemory.has(name)) return this.#inMemory.get(name);
    try {
      return window[this.#storage].getItem(name);
    } catch {
      return null;
    }
  }

  setItem(name, value) {
    this.#inMemory.delete(name);
    try {
      window[this.#storage].setItem(name, value);
    } catch {
      this.#inMemory.set(name, value);
    }
  }

  removeItem(name) {
    this.#inMemory.delete(name);
    try {
      window[this.#storage].removeItem(name);
    } catch {
      // the storage is forbidden, so it holds nothing
    }
  }
}
export const lasting = new Store("localStorage");
export const visit = new Store("sessionStorage"); // survives a reload and the Back button, and ends with the tab

lasting.removeItem("dropzero.buyer"); // the buyer of this browser before there were guests

// randomUUID needs https, which a laptop on the local network does not have.
export function randomKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The guest of this browser, with the `token` and the `subject`, or null before the first purchase. It is read anew for
// each purchase, because another tab can make one or replace it.
export const knownGuest = () => JSON.parse(lasting.getItem(KEPT_GUEST));

// Returns the guest of this browser. Makes a new one if there is none, or if the server has refused the token of the one
// that is known. All tabs end with the same guest. Throws the errors of the mutation `guest`.
export async function guest(refused) {
  const usable = () => {
    const known = knownGuest();
    return known && known.token !== refused?.token ? known : null;
  };
  if (usable()) return usable();
  return oneTabAtATime(async () => {
    if (usable()) return usable();
    const { guest: made } = await request(GUEST);
    // Another tab can have made one meanwhile, without locks or before its guest was seen here. Then that one counts.
    if (!usable()) lasting.setItem(KEPT_GUEST, JSON.stringify(made));
    return usable();
  });
}

// Calls `work` while no other tab does, nor for SETTLING after it. Locks need https or localhost, and allowed storage.
// Without them `work` is called at once.
function oneTabAtATime(work) {
  return new Promise((resolve) => {
    const withLock = () => {
      const result = work();
      resolve(result);
      return result.then(() => pause(SETTLING)).catch(() => {}); // the caller gets the error
    };
    const withoutLock = () => resolve(work());
    if (navigator.locks) navigator.locks.request(KEPT_GUEST, withLock).catch(withoutLock);
    else withoutLock();
  });
}
