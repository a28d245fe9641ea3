// Shows the page that belongs to the address. Links inside the application do not reload anything.

import { SignInNeeded, beginSession, session, signIn, signOut } from "./api.js";
import { action, el, notify, replaceKeepingPlace, root } from "./dom.js";
import { about } from "./about.js";
import { copiesOf } from "./copies.js";
import { live } from "./live.js";
import { people } from "./people.js";
import { person } from "./person.js";
import { programs } from "./programs.js";
import { run } from "./run.js";
import { runs } from "./runs.js";
import { start } from "./start.js";
import { stranger, strangers } from "./strangers.js";
import { lookForUnfinished } from "./uploads.js";

const PAGES = [
  [/^\/$/, start],
  [/^\/runs$/, runs],
  [/^\/runs\/([0-9a-f]{32})$/, run],
  [/^\/people$/, people],
  [/^\/people\/(\d+)$/, person],
  [/^\/strangers$/, strangers],
  [/^\/strangers\/(\d+)$/, stranger],
  [/^\/live$/, live],
  [/^\/about$/, about],
  [/^\/programs$/, programs],
];

const main = document.getElementById("main");
let leave = new AbortController();

export function go(path) {
  history.pushState(null, "", root + path);
  return show();
}

async function show() {
  leave.abort(); // ends the updates of the page before
  leave = new AbortController();
  const { signal } = leave, path = location.pathname;
  // What somebody is asked stays where the same page is only shown anew, because something before has ended meanwhile.
  if (show.before !== path) closeDialogs();
  document.querySelector(".notice.error")?.setAttribute("hidden", "");
  for (const link of document.querySelectorAll("nav a")) {
    const top = link.pathname === `${root}/`;
    const place = location.pathname.replace(/^(.*)\/strangers\b/, "$1/people"); // a part of that page
    const here = top ? place === link.pathname : place.startsWith(link.pathname);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("sign-out").hidden = !(session.password && session.signed_in);
  let contents;
  try {
    if (!session.signed_in) throw new SignInNeeded();
    const [, page, found] = PAGES.map(([pattern, page]) => [pattern, page, location.pathname.slice(root.length).match(pattern)]).find(
      ([, , match]) => match,
    ) ?? [null, nowhere, []];
    contents = await page({ signal, go, again: () => location.pathname === path && show() }, ...found.slice(1));
  } catch (error) {
    closeDialogs();
    contents = error instanceof SignInNeeded ? signInPage() : failed(error);
  }
  if (signal.aborted) return;
  replaceKeepingPlace(main, [contents].flat().filter(Boolean)); // a page leaves parts out by `condition && part`
  const title = main.querySelector("h1")?.textContent;
  document.title = title ? `${title} · Gaitprint` : "Gaitprint";
  if (show.before !== location.pathname) {
    window.scrollTo(0, 0);
    if (show.before !== undefined) main.focus({ preventScroll: true });
    show.before = location.pathname;
  }
}

function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}

function nowhere() {
  return [el("h1", {}, "There is nothing here"), el("p", {}, el("a", { href: "/" }, "Begin a new run"))];
}

function failed(error) {
  return [el("h1", {}, "This did not work"), el("p", {}, error.message), el("p", {}, el("a", { href: "/runs" }, "All runs"))];
}

function signInPage() {
  const password = el("input", { type: "password", name: "password", autocomplete: "current-password", required: true, id: "password" });
  const form = el("form", { class: "narrow card", onsubmit: action(async () => {
    await signIn(password.value);
    await show();
    await lookForUnfinished();
  }) }, el("h1", {}, "Sign in"),
  !session.password && el("p", { class: "hint" }, "Open the link that the program printed when it was started, or enter the token at its end."),
  el("label", { for: "password" }, session.password ? "Password" : "Token"), password, el("button", { class: "primary" }, "Sign in"));
  queueMicrotask(() => password.focus());
  return form;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.origin !== location.origin || link.target || link.hasAttribute("download") || link.matches(".skip")) return;
  if (!link.pathname.startsWith(`${root}/`) || link.pathname.startsWith(`${root}/api/`)) return;
  event.preventDefault();
  go(link.pathname.slice(root.length) + link.hash);
});
window.addEventListener("popstate", show);
document.getElementById("sign-out").addEventListener("click", action(async () => {
  await copiesOf(new Set()); // drops them, as others may use this browser
  await signOut();
  await show();
}));

// The page is written with relative addresses, which would lead elsewhere as soon as its own address changes.
for (const link of document.querySelectorAll(".top a, .foot a, link[rel=icon]")) link.href = link.href;

try {
  await beginSession();
  await show();
  if (session.signed_in) await lookForUnfinished();
} catch {
  notify("The server cannot be reached.", { error: true });
}
