// Strangers: people without a name whom cameras have seen, and who keep a number.

import { get, post, remove } from "./api.js";
import { action, confirmed, el, notify } from "./dom.js";
import { findable } from "./find.js";
import { count, day, moment } from "./format.js";
import { face } from "./people.js";
import { GUESS, cameraSightings, clothes } from "./person.js";
import { namingForm } from "./track.js";

export async function strangers() {
  const everybody = await get("/strangers");
  return [
    el("h1", {}, "Strangers"),
    el("p", { class: "lead" }, "People without a name whom cameras have seen. Each has a number until you give them a name, or until they are deleted because they were not seen for some days."),
    everybody.length === 0 && el("p", { class: "empty" }, "There are none. The page ", el("a", { href: "/live" }, "Live"), " gives numbers to strangers if you tell it to, and so does ", el("code", {}, "python -m app watch"), " if its file says so."),
    findable(everybody, (one) => [one.name, ...one.cameras].join(" "), (one) => el("li", {}, el("a", { class: "card person", href: `/strangers/${one.stranger_id}` },
      portrait(one),
      el("span", { class: "who" }, one.name),
      el("span", { class: "hint" }, `${count(one.walks, "walk")} · last ${moment(one.last_seen)} · ${one.cameras.join(", ")}`))),
    { label: "Find a stranger", kind: "people", timesOf: (one) => [one.first_seen, one.last_seen, ...one.seen] }),
  ].filter(Boolean);
}

export async function stranger({ go }, id) {
  const [found, everybody, people] = await Promise.all([get(`/strangers/${id}`), get("/strangers"), get("/people")]);
  const others = everybody.filter((other) => other.stranger_id !== found.stranger_id);
  const into = el("select", { id: "into", required: true }, el("option", { value: "" }, "Choose"), others.map((other) => el("option", { value: other.stranger_id }, other.name)));
  const pictures = found.walk_list.filter((walk) => walk.has_picture);
  const name = async (content) => {
    const { person_id } = await post(`/strangers/${id}/name`, content);
    await go(`/people/${person_id}`);
    notify(`${found.name} is ${content.name} now, with all earlier sightings.`);
  };
  return [
    el("div", { class: "head" }, portrait(found), el("div", {}, el("h1", {}, found.name),
      el("p", { class: "lead" }, `First seen ${day(found.first_seen)}, last seen ${moment(found.last_seen)}`, found.expires ? `, kept until ${day(found.expires)}.` : "."))),
    pictures.length > 0 && el("section", {}, el("h2", {}, "Pictures"), el("ul", { class: "pictures" }, pictures.map((walk) => el("li", {},
      el("img", { src: `/api/strangers/${id}/walks/${walk.walk_id}/picture`, alt: `${found.name}, seen by ${walk.camera}`, loading: "lazy" }),
      el("span", { class: "hint" }, `${walk.camera} · ${moment(walk.added)}`), clothes(walk.clothes)))),
      pictures.some((walk) => walk.clothes) && el("p", { class: "hint" }, GUESS)),
    cameraSightings(found.sightings, `Seen by ${found.cameras.join(", ")}`) || el("p", { class: "muted" }, "The log has no sightings."),
    el("section", { class: "naming card padded" }, namingForm(people, name, "Who is this?", "Give this name", { values: () => ({}), fields: null })),
    el("section", { class: "manage" },
      others.length > 0 && el("form", { class: "line", onsubmit: action(async () => {
        const other = others.find((one) => one.stranger_id === Number(into.value));
        if (!await confirmed(`Are ${found.name} and ${other.name} one person?`, [el("p", { class: "pair" }, portrait(found), portrait(other)), el("p", {}, `All walks are given to ${other.name}, and the number of ${found.name} disappears. This cannot be undone.`)], "Merge", "Keep as two")) return;
        await post(`/strangers/${id}/merge`, { stranger_id: other.stranger_id });
        await go(`/strangers/${other.stranger_id}`);
      }) }, el("label", { for: "into" }, "Is the same stranger as"), into, el("button", {}, "Merge")),
      el("div", {}, el("button", { type: "button", class: "danger", onclick: action(async () => {
        if (!await confirmed(`Drop ${found.name}?`, el("p", {}, `This stranger is deleted for good: ${count(found.walks, "walk")}, ${pictures.length ? "their pictures, " : ""}the number in the gallery’s log, and the cache of what was found in videos, which makes further runs faster.`), "Drop")) return;
        await remove(`/strangers/${id}`);
        await go("/strangers");
        notify(`${found.name} is gone.`);
      }) }, `Drop ${found.name} …`))),
  ].filter(Boolean);
}

function portrait(one) {
  return face(one.has_picture && `/api/strangers/${one.stranger_id}/picture`, String(Number(one.name.split("-").at(-1)) || "?"));
}
