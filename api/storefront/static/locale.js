// The reader's language: texts by key, and numbers, prices, moments and plurals as Intl has them. The page itself carries
// the texts: a request for them could fail. api/storefront/formats.py formats the same on the server.

export const language = document.documentElement.lang;

const messages = JSON.parse(document.getElementById("texts").textContent);
const plurals = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(language);
const twoDigits = new Intl.NumberFormat(language, { minimumIntegerDigits: 2 });
const { numberingSystem } = numbers.resolvedOptions();
const day = { weekday: "long", day: "numeric", month: "long", numberingSystem, calendar: "gregory" };
const time = { hour: "numeric", minute: "2-digit", timeZoneName: "short" };
const moments = new Intl.DateTimeFormat(readersTag(), { ...day, ...time });
const momentsOfOtherYears = new Intl.DateTimeFormat(readersTag(), { ...day, year: "numeric", ...time });

const LENGTHS = Object.entries({ hour: 3600, minute: 60, second: 1 }); // of units, in seconds
const FEW = 10; // units; a stock that falls this low is announced
const ANNOUNCED = 5; // announcements that stay in the page, where they can be read again
const LEFT_TO_RIGHT = "\u2066";
const END_OF_ISOLATE = "\u2069";

// The reader's own tag, such as en-GB on an English page: it knows the order of a date, and whether a day has 12 hours or
// 24. Else the page's. Scripts count: a reader of Traditional Chinese gets the dates of a Simplified page as it is.
function readersTag() {
  const written = (tag) => {
    const { language, script } = new Intl.Locale(tag).maximize();
    return `${language}-${script}`;
  };
  return navigator.languages.find((tag) => written(tag) === written(language)) ?? language;
}

export const number = (value) => numbers.format(value);

// A price, as a text such as "48.00" and the code of a currency. No number is made of the text, so nothing is rounded.
export const price = ({ amount, currency }) =>
  new Intl.NumberFormat(language, { style: "currency", currency }).format(amount);

// A moment in the reader's time zone, which it names: weekday, day, month, time, and the year if it is not this one.
export function moment(value) {
  const at = new Date(value);
  return (at.getFullYear() === new Date().getFullYear() ? moments : momentsOfOtherYears).format(at);
}

// An id runs left to right, also within text that runs right to left.
export const isolated = (id) => LEFT_TO_RIGHT + id + END_OF_ISOLATE;

// Leaves a text as it is that is the same: a reader may have selected it.
export function setText(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

// Shows a number whose digits roll to the new ones. The stylesheet moves them, where its reader welcomes motion.
export function rollText(element, content) {
  const before = element.textContent;
  if (before === content) return;
  const digits = Array.from(content, (digit, index) => {
    const was = before.at(index - content.length);
    const part = Object.assign(document.createElement("span"), { textContent: digit });
    if (was !== digit) part.dataset.was = was ?? "";
    return part;
  });
  element.replaceChildren(...digits);
  element.addEventListener("animationend", () => element.replaceChildren(content), { once: true });
}

// Shows a clock, or nothing, in an element of two parts: the stylesheet can hide the first one, up to the seconds.
export function showClock(element, clock) {
  const [far, seconds] = element.children;
  const end = clock.lastIndexOf(":") + 1;
  setText(far, clock.slice(0, end));
  setText(seconds, clock.slice(end));
}

// The text of a key. Where it has plural forms, `values.count` chooses one of them. The form `zero` is for 0 in every
// language, if there is one.
export function text(key, values = {}) {
  const message = messages[key];
  const category = values.count === 0 && message.zero ? "zero" : plurals.select(values.count);
  const form = typeof message === "string" ? message : message[category];
  return form.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value;
  });
}

// The price of so many units. It is counted in the smallest digit of the amount, so nothing is rounded.
export function times({ amount, currency }, count) {
  const [, fraction = ""] = amount.split(".");
  const digits = String(BigInt(amount.replace(".", "")) * BigInt(count)).padStart(fraction.length + 1, "0");
  const whole = digits.length - fraction.length;
  return { amount: fraction ? `${digits.slice(0, whole)}.${digits.slice(whole)}` : digits, currency };
}

// The time left: the number of days, and a clock of hours, minutes and seconds.
export function countdown(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const clock = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  return { days: Math.floor(seconds / 86_400), clock: clock.map((part) => twoDigits.format(part)).join(":") };
}

// A length of time in words, in the largest unit up to hours that it is a whole number of.
export function duration(seconds) {
  const [unit, length] = LENGTHS.find(([, length]) => seconds % length === 0);
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(seconds / length);
}

// Has a screen reader read a message, after what it is reading now. For milestones only. Each message is a paragraph of
// its own, so that the next one does not replace it.
export function announce(message) {
  const paragraph = document.createElement("p");
  paragraph.textContent = message;
  const announcer = document.getElementById("announcer");
  announcer.append(paragraph);
  if (announcer.childElementCount > ANNOUNCED) announcer.firstElementChild.remove();
}

// Announces a stock that has run out, or has become low.
export function announceStock(name, before, stock) {
  if (before > 0 && stock === 0) announce(text("announce_sold_out", { name }));
  else if (before > FEW && stock <= FEW) announce(text("announce_left", { name, count: stock }));
}

// A cookie of the shop, or null.
export const readCookie = (name) => new RegExp(`(?:^|; )${name}=([^;]+)`).exec(document.cookie)?.[1] ?? null;

export function writeCookie(name, value, seconds, sameSite) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${name}=${value}; path=/; max-age=${seconds}; samesite=${sameSite}${secure}`;
}

// The address of another page of the shop. It carries the language if the server's own links do: nothing else keeps it.
export const linkTo = (path) => path + document.querySelector(".wordmark").search;

// A language that the reader chooses is kept in a cookie. A link with ?lang= does not change it.
const menu = document.querySelector(".languages");
menu.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  writeCookie("dropzero_language", link.lang, 31_536_000, "Lax");
  if (readCookie("dropzero_language") !== link.lang) return; // no cookies: follow the link, whose ?lang= works for one page
  event.preventDefault();
  const address = new URL(location.href);
  address.searchParams.delete("lang");
  if (address.href === location.href) location.reload();
  else location.replace(address);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) menu.open = false;
});
