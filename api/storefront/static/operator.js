// The operator's page: sign in, then the list of products, or the one that the address names.

import { StockWatch, readFirst } from "./api.js";
import { number, setText, text } from "./locale.js";
import { showConnection, watchActivity } from "./operator_activity.js";
import { nameOf, showList } from "./operator_list.js";
import { showLog } from "./operator_log.js";
import { showOrders } from "./operator_orders.js";
import { nameZones } from "./operator_parts.js";
import { readProduct, renderState, showStock, steer } from "./operator_product.js";
import { knownRoles, signIn, signOut, token } from "./operator_session.js";

const STATES_INTERVAL = 1000; // ms; a product opens and closes by itself

const id = new URLSearchParams(location.search).get("product");

// Without activity, the page still has the live stock.
function watchStock(readOrders) {
  const onChange = (change) => {
    setText(document.querySelector("[data-figure=stock]"), number(change.stock));
    showConnection(!change.stale);
    showStock(change);
    readOrders();
  };
  const onLost = () => showConnection(false);
  new StockWatch({ onChange, onLost, onMissed: () => readProduct(id) }).watch([id]);
}

async function showProduct(isOperator) {
  document.querySelector(".back").hidden = false;
  await readProduct(id);
  document.getElementById("product").hidden = false;
  const readLog = isOperator ? showLog(id) : async () => {};
  const changed = () => readLog().catch(() => {});
  const readOrders = showOrders(id, changed);
  steer(changed);
  watchActivity(id, {
    onEvent({ product }, hasPurchases) {
      showStock(product);
      if (hasPurchases) readOrders();
    },
    onRefused(message) {
      const hint = document.getElementById("no-activity");
      setText(hint, `${text("operator_no_activity")} ${message}`);
      hint.hidden = false;
      document.getElementById("charts").hidden = document.getElementById("machines").hidden = true;
      watchStock(readOrders);
    },
  });
  setInterval(renderState, STATES_INTERVAL);
  await changed();
}

async function show(roles) {
  const isOperator = roles.includes("OPERATOR");
  document.getElementById("signed-in").hidden = false;
  setText(document.getElementById("roles"), text(isOperator ? "operator_role_operator" : "operator_role_support"));
  for (const part of document.querySelectorAll(".writes")) part.hidden = !isOperator;
  document.getElementById("read-only").hidden = isOperator;
  if (id) return showProduct(isOperator);
  await showList();
  if (isOperator) await showLog(null, nameOf)().catch(() => {});
}

// A page that the browser has kept may be of a session that has ended.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
document.getElementById("sign-out").addEventListener("click", () => signOut());
nameZones();
await readFirst(async () => show(token() ? await knownRoles() : await signIn()), "no_such_drop");
performance.mark("interactive");
