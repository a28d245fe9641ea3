// One walk in detail: who it may be, and naming it.

import { get, post, put, remove } from "./api.js";
import { action, el, notify, openDialog } from "./dom.js";
import { clock, distance } from "./format.js";
import { portrait } from "./people.js";
import { colourOf, cropOf, nameOf } from "./run.js";

export async function showTrack({ job, place, video, track, colours, player, page }) {
  const people = await get("/people");
  const path = `/jobs/${job.job_id}/videos/${place}/tracks/${track.track_id}/person`;
  const [begin] = track.spans[0];
  const [, end] = track.spans.at(-1);
  const isKnown = track.probability !== null && track.probability !== undefined;
  const usable = track.status !== "unusable";
  const done = async (message, undo) => { dialog.close(); await page.again(); notify(message, { undo }); };

  const store = async (content) => {
    // A walk that the gallery had before must never be removed by an undo.
    const { before, undo } = await post(path, content);
    await done(`This walk is stored under ${content.name}.`, undo && (() => before ? post(path, { name: before }) : remove(path)));
  };
  const who = usable ? el("section", { class: "naming" }) : null;
  const dialog = openDialog(
    el("span", {}, el("span", { class: "swatch", style: { background: colourOf(track, colours) } }), nameOf(track)),
    el("div", { class: "closer" },
      el("img", { src: cropOf(job, place, track), alt: `The person of track ${track.track_id}` }),
      el("dl", {},
        el("dt", {}, "Seen"), el("dd", {}, `${clock(begin)} to ${clock(end)} `, el("button", { class: "plain link", type: "button", onclick: () => { dialog.close(); player.seek(begin); } }, "show")),
        el("dt", {}, "Track"), el("dd", {}, String(track.track_id)),
        track.reason && [el("dt", {}, "Why"), el("dd", {}, track.reason)],
        isKnown && [el("dt", {}, "Probability"), el("dd", {}, track.sureness.text, !track.identity && ` that it is ${track.candidates[0].identity}`)],
        track.confidence !== null && !isKnown && [el("dt", {}, "Decision"), el("dd", {}, track.sureness.text)],
        track.pieces && [el("dt", {}, "Pieces"), el("dd", {}, `${track.agreeing} of the ${track.pieces} pieces of this walk are nearest to ${track.identity || track.candidates[0].identity}`)])),
    usable && track.candidates.length > 0 && candidatesOf(track, colours, people, (name) => store({ name })),
    who);
  if (!usable) return;
  if (track.labelled) {
    who.append(el("p", {}, "This walk is in the gallery as ", el("a", { href: `/people/${track.person.person_id}` }, track.person.name), "."),
      el("div", { class: "actions left" },
        el("button", { type: "button", onclick: () => who.replaceChildren(namingForm(people, store, "Who is it really?", "Move this walk")) }, "Wrong name"),
        el("button", { type: "button", class: "quiet-danger", onclick: action(async () => { await remove(path); await done("This walk was taken out of the gallery."); }) }, "Take out of the gallery")));
  } else if (track.person) {
    who.append(el("h3", {}, `Is this ${track.person.name}?`),
      el("p", { class: "hint" }, "If you answer, this walk is stored in the gallery. The more walks it has of a person, the better they are recognised."),
      el("div", { class: "actions left" },
        el("button", { type: "button", class: "primary", onclick: action(() => store({ name: track.person.name })) }, "Yes, add this walk"),
        el("button", { type: "button", onclick: () => who.replaceChildren(namingForm(people.filter((person) => person.person_id !== track.person.person_id), store, "Who is it really?", "Store this walk")) }, "No, somebody else"),
        job.kind === "compare" ? notInRun() : el("button", { type: "button", class: "plain", onclick: action(async () => {
          const denied = `/jobs/${job.job_id}/videos/${place}/tracks/${track.track_id}/denied/${track.person.person_id}`;
          await put(denied);
          await done(`No run will call this walk ${track.person.name} again.`, () => remove(denied));
        }) }, `Not ${track.person.name}`)));
  } else {
    const not = notInRun();
    who.append(...(not ? [el("div", { class: "actions left" }, not)] : []), namingForm(people, store, "Who is this?", "Enrol"));
  }

  /** A button that says who of the gallery video this is not. */
  function notInRun() {
    if (job.kind !== "compare" || video.role === "gallery" || !track.identity) return null;
    const say = (denied) => put(`/jobs/${job.job_id}/videos/${place}/tracks/${track.track_id}/denied`, { name: track.identity, denied });
    return el("button", { type: "button", onclick: action(async () => {
      await say(true);
      await done(`This run does not call this walk ${track.identity} any more.`, () => say(false));
    }) }, `Not ${track.identity}`);
  }
}

function candidatesOf(track, colours, people, store) {
  const most = Math.max(track.threshold ?? 0, ...track.candidates.slice(0, 5).map((candidate) => candidate.distance)) * 1.05;
  const known = new Map(people.map((person) => [person.person_id, person]));
  const choosable = track.candidates.some((candidate) => known.has(candidate.person_id));
  const row = (candidate) => {
    const person = known.get(candidate.person_id);
    const isIt = person && track.labelled && track.person.person_id === person.person_id;
    return el("li", {},
      choosable && (person ? portrait(person) : el("span", {})),
      el("span", { class: "who" }, candidate.identity),
      el("span", { class: "measure", "aria-hidden": "true" }, el("span", { style: { width: `${(100 * candidate.distance) / most}%`, background: colours.get(candidate.identity) ?? "currentColor" } })),
      el("span", { class: "number" }, distance(candidate.distance)),
      person && !isIt ? el("button", { type: "button", class: "small", "aria-label": `This is ${candidate.identity}`, onclick: action(() => store(candidate.identity)) }, "Choose") : choosable && el("span", {}));
  };
  return el("section", {}, el("h3", {}, "Nearest people"),
    el("ul", { class: choosable ? "candidates choosable" : "candidates", style: track.threshold === null ? {} : { "--limit": `${(100 * track.threshold) / most}%` } }, track.candidates.slice(0, 5).map(row)),
    el("p", { class: "hint" },
      track.threshold !== null && `Distances: the smaller, the more alike. Above ${distance(track.threshold)} (the line) nobody is named. `,
      choosable && "If you choose somebody, this walk is stored under their name, and all runs use it from then on."));
}

/**
 * A form that says who somebody is: one of `people`, or somebody new with their consent.
 *
 * @param store what is called with the name, and for somebody new with consent and retain_days.
 * @param more further fields, and what they add to what is stored.
 */
export function namingForm(people, store, title, button, more = keepSilhouettes()) {
  const names = new Map(people.map((person) => [person.name, person]));
  const name = el("input", { id: "name", required: true, maxlength: 100, autocomplete: "off", list: "known", oninput: () => refresh() });
  const consent = el("textarea", { id: "consent", rows: 3, maxlength: 2000, placeholder: "What the person agreed to, when, and how. For example: “Signed form of 3 May: may be recognised in the videos of the yard.”" });
  const days = el("select", { id: "days" }, [["", "until I delete it"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]].map(([value, text]) => el("option", { value }, text)));
  const fresh = el("div", { class: "fresh" },
    el("label", { for: "consent" }, "Consent of this person"), consent,
    el("label", { for: "days" }, "Keep"), days);
  const refresh = () => {
    const known = names.has(name.value.trim());
    fresh.hidden = known;
    consent.required = !known;
  };
  refresh();
  return el("form", { onsubmit: action(() => {
    const known = names.has(name.value.trim());
    return store({
      name: name.value.trim(),
      ...more.values(),
      ...(known ? {} : { consent: consent.value, retain_days: days.value ? Number(days.value) : null }),
    });
  }) }, el("h3", {}, title), el("label", { for: "name" }, "Name"), name, el("datalist", { id: "known" }, people.map((person) => el("option", { value: person.name }))),
  fresh, more.fields,
  el("div", { class: "actions" }, el("button", { class: "primary" }, button)));
}

function keepSilhouettes() {
  const keep = el("input", { type: "checkbox", id: "keep", checked: true });
  return {
    values: () => ({ keep_silhouettes: keep.checked }),
    fields: el("label", { class: "check" }, keep, el("span", {}, "Keep the silhouettes too", el("span", { class: "hint" }, "so that another gait network can use this walk later"))),
  };
}
