// Everybody in the gallery, and what was done with it.

import { get } from "./api.js";
import { el } from "./dom.js";
import { bin } from "./bin.js";
import { findable } from "./find.js";
import { count, day } from "./format.js";

export async function people({ again }) {
  const [everybody, log, deleted, strangers] = await Promise.all([get("/people"), get("/log"), get("/bin"), get("/strangers")]);
  return [
    el("h1", {}, "People"),
    el("p", { class: "lead" }, everybody.length
      ? `${count(everybody.length, "person", "people")} who agreed to be recognised.`
      : "Nobody is enrolled yet."),
    everybody.length === 0 && el("p", { class: "empty" }, "To enrol somebody, start a run, click on them in the video, and give them a name. ", el("a", { href: "/" }, "New run")),
    strangers.length > 0 && el("p", {}, el("a", { href: "/strangers" }, `${count(strangers.length, "stranger has", "strangers have")} a number`), " because cameras have seen them."),
    findable(everybody, (person) => person.name, (person) => el("li", {}, el("a", { class: "card person", href: `/people/${person.person_id}` },
      portrait(person),
      el("span", { class: "who" }, person.name),
      el("span", { class: "hint" }, count(person.walks, "walk"), person.expires && ` · until ${day(person.expires)}`))),
    { label: "Find somebody", kind: "people" }),
    bin(deleted, again),
    log.length > 0 && el("details", { class: "log" }, el("summary", {}, "What was done with the gallery"), el("ul", {}, log.map((event) => el("li", {},
      el("time", { datetime: event.time }, new Date(event.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })), " ", el("strong", {}, event.event), " ",
      el("span", { class: "hint" }, detailsOf(event.details)))))),
  ].filter(Boolean);
}

export function portrait(person) {
  return face(person.has_picture && `/api/people/${person.person_id}/picture`, [...person.name][0].toUpperCase());
}

/** A round picture of somebody; where there is none, letters take its place. */
export function face(src, letters) {
  return src
    ? el("img", { class: "portrait", src, alt: "", loading: "lazy" })
    : el("span", { class: "portrait", "aria-hidden": "true" }, letters);
}

function detailsOf(details) {
  return Object.entries(details)
    .filter(([name, value]) => !name.endsWith("_ids") && value !== null)
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${Array.isArray(value) ? value.length : value}`).join(", ");
}
