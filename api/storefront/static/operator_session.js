// Who runs the shop from this tab. The token is kept in this tab's session storage, and sent in headers alone: it is in
// no address, and no other tab has it.

import { request } from "./api.js";
import { setText, text } from "./locale.js";
import { visit } from "./purchase.js";

const VIEWER = `query Operator { viewer { roles } }`;
const TOKEN = "dropzero.operator";
const REASON = "dropzero.operator.reason"; // why the last session ended: the key of a text
const VISIBLE = /^[!-~]+$/; // the characters of a token
const DOUBTFUL = ["INTERNAL", "SERVICE_UNAVAILABLE"]; // codes after which a change may have been made

export const token = () => visit.getItem(TOKEN);

// Sends an operation as the operator, and returns its data. Ends the session when the token is not accepted any more.
export async function ask(query, variables) {
  try {
    return await request(query, variables, token());
  } catch (error) {
    if (error.code === "UNAUTHENTICATED") signOut("operator_expired");
    throw error;
  }
}

// Keeps a picture on the server, and returns its url, width and height.
export async function upload(file) {
  const headers = { authorization: `Bearer ${token()}`, "content-type": file.type || "image/unknown" };
  const response = await fetch("/images", { method: "POST", headers, body: file });
  if (response.ok) return response.json();
  if (response.status === 401) signOut("operator_expired");
  throw Object.assign(new Error(await response.text()), { code: "REFUSED" });
}

// Ends the session. The page is loaded again, so that nothing of it is left in this tab.
export function signOut(reason) {
  if (!token()) return;
  visit.removeItem(TOKEN);
  if (reason) visit.setItem(REASON, reason);
  location.reload();
}

// Whether a change may have been made, although its answer is an error.
export const isUnanswered = ({ code }) => !code || DOUBTFUL.includes(code);

// What an error says to the operator.
export function explain({ code, message }) {
  return code ? message : `${text("operator_no_answer")} ${text("operator_again")}`;
}

// What it says where the same change may be sent again, and counts once.
export function explainOnce({ code, message }) {
  return `${code ? message : text("operator_no_answer")} ${text("operator_once")}`;
}

// Shows what an action has done, or why it failed.
export function showResult(result, message, failed = false) {
  result.classList.toggle("failed", failed);
  setText(result, message);
}

const isStaff = (roles) => roles.includes("OPERATOR") || roles.includes("SUPPORT");

// Returns the roles of this tab's token.
export async function knownRoles() {
  return (await ask(VIEWER, {})).viewer.roles;
}

// Shows the form until the server accepts a token in it. Returns the roles of this token.
export function signIn() {
  const form = document.getElementById("sign-in");
  const result = form.querySelector(".result");
  result.textContent = visit.getItem(REASON) ? text(visit.getItem(REASON)) : "";
  visit.removeItem(REASON);
  form.hidden = false;
  const field = document.getElementById("token");
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const candidate = field.value.trim();
      try {
        if (!VISIBLE.test(candidate)) throw Object.assign(new Error(), { code: "UNAUTHENTICATED" });
        const { roles } = (await request(VIEWER, {}, candidate)).viewer;
        if (!isStaff(roles)) throw Object.assign(new Error(text("operator_no_role")), { code: "FORBIDDEN" });
        visit.setItem(TOKEN, candidate);
        form.remove();
        resolve(roles);
      } catch (error) {
        showResult(result, error.code === "UNAUTHENTICATED" ? text("operator_wrong_token") : explain(error), true);
        field.select();
        field.focus();
      }
    });
  });
}
