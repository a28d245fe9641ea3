// One person: their walks, renaming, merging and forgetting.

import { get, patch, post, put, remove } from "./api.js";
import { action, confirmed, el, notify } from "./dom.js";
import { bin, restoring } from "./bin.js";
import { findable } from "./find.js";
import { clock, count, day, distance, figure, moment, seconds } from "./format.js";
import { portrait } from "./people.js";
import { titleOf } from "./runs.js";

const FEW = 5; // sightings by cameras that are shown at once
export const GUESS = "The colours of clothes are guesses from one picture each.";
const HEIGHT = "height in the picture"; // as `app.walks.quality` calls it

export async function person({ go, again, signal }, id) {
  const [found, everybody, seen, cameras, deleted] = await Promise.all([get(`/people/${id}`), get("/people"), get(`/people/${id}/sightings`), get(`/people/${id}/cameras`), get("/bin")]);
  const others = everybody.filter((other) => other.person_id !== found.person_id);
  const name = el("input", { id: "name", value: found.name, required: true, maxlength: 100 });
  const into = el("select", { id: "into", required: true }, el("option", { value: "" }, "Choose"), others.map((other) => el("option", { value: other.person_id }, other.name)));
  const worn = get(`/people/${id}/clothes`).catch(() => ({})); // a moment later, as pictures have to be looked at
  const rows = new Map(found.walk_list.map((walk) => [walk.walk_id, walkRow(walk, others, found, worn, { go, again })]));
  fillStandings(found, rows, signal);
  return [
    el("div", { class: "head" }, portrait(found), el("div", {}, el("h1", {}, found.name),
      el("p", { class: "lead" }, `Enrolled ${day(found.enrolled)}`, found.expires ? `, kept until ${day(found.expires)}.` : "."))),
    consentOf(found, again),
    el("section", {}, el("h2", {}, "Seen"), seen.length
      ? findable(seen, (one) => one.video, (one) => sighting(one, worn), { label: "Find a video", kind: "sightings", timesOf: (one) => [one.created] })
      : el("p", { class: "muted" }, "Not seen in any of the runs that are kept.")),
    cameraSightings(cameras, "Seen by cameras"),
    el("section", {}, el("h2", {}, `${count(found.walk_list.length, "walk")} in the gallery`),
      el("ul", { class: "walks" }, [...rows.values()]),
      el("p", { class: "hint" }, "Each walk is compared with the gallery, as if it had to be named. The smaller the distance, the more alike two walks are. ", GUESS)),
    found.denials.length > 0 && el("section", {}, el("h2", {}, `Not ${found.name}`),
      el("p", { class: "hint" }, "These walks never get this name, because somebody said that they are another person’s."),
      el("ul", { class: "walks" }, found.denials.map((denial) => el("li", {},
        el("span", { class: "who" }, denial.source),
        el("span", { class: "hint" }, `track ${denial.track_id} · ${day(denial.added)}`),
        el("span", { class: "row-actions" }, el("button", { type: "button", class: "plain small", onclick: action(async () => {
          await remove(`/people/${id}/denials/${denial.denial_id}`);
          await again();
          notify(`That walk may be called ${found.name} again.`);
        }) }, "Take back")))))),
    bin(deleted.filter((entry) => entry.person_id === found.person_id), again),
    el("section", { class: "manage" },
      el("form", { class: "line", onsubmit: action(async () => {
        await patch(`/people/${id}`, { name: name.value });
        notify(`${found.name} is called ${name.value} now.`, { undo: () => patch(`/people/${id}`, { name: found.name }) });
        again();
      }) }, el("label", { for: "name" }, "Name"), name, el("button", {}, "Rename")),
      others.length > 0 && el("form", { class: "line", onsubmit: action(async () => {
        const other = others.find((one) => one.person_id === Number(into.value));
        const told = `All walks are given to ${other.name}, and the name ${found.name} disappears. For ten minutes you can undo this on the page “People”.`;
        if (!await confirmed(`Are ${found.name} and ${other.name} one person?`, [el("p", { class: "pair" }, portrait(found), portrait(other)), el("p", {}, told)], "Merge", "Keep as two")) return;
        const { key } = await post(`/people/${id}/merge`, { person_id: other.person_id });
        await go(`/people/${other.person_id}`);
        notify(`${found.name} and ${other.name} are one person now.`, { undo: restoring(key) });
      }) }, el("label", { for: "into" }, "Is the same person as"), into, el("button", {}, "Merge")),
      el("div", { class: "actions left" },
        el("a", { class: "button", href: `/api/people/${id}/access`, download: "" }, "Download everything about this person"),
        el("button", { type: "button", class: "danger", onclick: action(() => forget(found, go)) }, `Forget ${found.name} …`))),
  ];
}

/** Say of each walk how it stands between its own person and others; this takes a moment, so the page does not wait. */
async function fillStandings(found, rows, signal) {
  const standings = await get(`/people/${found.person_id}/standings`).catch(() => []);
  if (signal.aborted) return;
  for (const { walk_id: walkId, own, other, nearest, harms } of standings) {
    const row = rows.get(walkId);
    if (!row || (own === null && other === null)) continue;
    row.querySelector(".who").after(el("span", { class: harms ? "standing harms" : "standing" },
      harms && `More like the walks of ${nearest}, so it may cause wrong names. `,
      [own !== null && `${distance(own)} to the other walks`, other !== null && `${distance(other)} to ${nearest}, the nearest other person`].filter(Boolean).join(", ")));
  }
}

/** What somebody has agreed to, and a form that changes it. */
function consentOf(found, again) {
  const text = el("textarea", { id: "agreed", rows: 3, maxlength: 2000, required: true }, found.consent);
  const inDays = (days) => new Date(Date.now() + days * 86400000).toISOString();
  const until = el("select", { id: "until" }, [
    ["same", found.expires ? `until ${day(found.expires)}, as it is` : "until I delete it, as it is"],
    ...(found.expires ? [["", "until I delete it"]] : []), ["30", "30 days from now"], ["90", "90 days from now"], ["365", "a year from now"],
  ].map(([value, words]) => el("option", { value }, words)));
  return el("section", {}, el("h2", {}, "Consent"), el("p", { class: "quote" }, found.consent),
    el("details", {}, el("summary", {}, "Change"),
      el("form", { class: "fresh agreed", onsubmit: action(async () => {
        const before = { consent: found.consent, expires: found.expires };
        const expires = until.value === "same" ? found.expires : until.value ? inDays(Number(until.value)) : null;
        await put(`/people/${found.person_id}/consent`, { consent: text.value, expires });
        await again();
        notify("The consent is noted.", { undo: () => put(`/people/${found.person_id}/consent`, before) });
      }) },
      el("label", { for: "agreed" }, `What ${found.name} agrees to`), text,
      el("label", { for: "until" }, "Keep"), until,
      el("div", { class: "actions left" }, el("button", {}, "Save")))));
}

/** The colours of upper and lower body, or a promise of them: they are guessed from one picture. */
export function clothes(worn) {
  const place = el("span", { class: "hint clothes", title: "A guess from one picture: light, shadows and bags may mislead." });
  Promise.resolve(worn).then((colours) => colours && place.append(...colours.flatMap(({ name, css }, part) => [
    el("span", { class: "swatch", style: { background: css } }), part ? `${name} below` : `${name} above, `])));
  return place;
}

function sighting(seen, worn) {
  return el("li", {}, el("a", { class: "card", href: `/runs/${seen.job_id}#${seen.place}/${seen.track_id}` },
    el("img", { src: `/api/jobs/${seen.job_id}/videos/${seen.place}/crops/${seen.track_id}`, alt: "", loading: "lazy" }),
    el("span", { class: "who" }, seen.video),
    el("span", { class: "hint" }, `${clock(seen.begin)} to ${clock(seen.end)}`),
    el("span", { class: "hint" }, [moment(seen.created), seen.labelled ? "confirmed" : seen.sureness].filter(Boolean).join(" · ")),
    clothes(worn.then((all) => all[`${seen.job_id}/${seen.place}/${seen.track_id}`]))));
}

/** When cameras have seen somebody: each time that they have left the view again. */
export function cameraSightings(seen, title) {
  const times = seen.filter((one) => one.event === "left");
  const row = (one) => el("li", {},
    el("span", { class: "who" }, one.camera ?? ""),
    el("span", { class: "hint" }, new Date(one.time).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }), one.in_view ? `, in view for ${seconds(one.in_view)}` : ""));
  return times.length > 0 && el("section", {}, el("h2", {}, title),
    findable(times, (one) => one.camera ?? "", row, { label: "Find a camera", kind: "walks", timesOf: (one) => [one.time], first: FEW }));
}

/** How somebody walks, as far as a body was fitted to the walk. */
function gaitOf(walk) {
  const measures = walk.measures.filter(({ name }) => name !== HEIGHT && !name.startsWith("camera "));
  const text = ({ value, uncertainty, unit, count: of }) => [figure(value), uncertainty !== null && ` ± ${figure(uncertainty)}`, ` ${unit}`, of > 1 && ` (${of})`];
  return measures.length > 0 && el("details", { class: "gait" }, el("summary", {}, "Gait"),
    el("dl", {}, measures.map((measure) => [el("dt", {}, measure.name), el("dd", {}, text(measure))])),
    el("p", { class: "hint" }, "Each with its standard error, and in brackets the number of steps or cycles. The standard error does not say how wrong the fitted body is."));
}

function walkRow(walk, others, owner, worn, { go, again }) {
  const to = el("select", { "aria-label": "Whose walk is it?" }, el("option", { value: "" }, "Somebody else’s …"), others.map((other) => el("option", {}, other.name)));
  to.addEventListener("change", action(async () => {
    if (!to.value) return;
    await post(`/walks/${walk.walk_id}/move`, { name: to.value });
    notify(`The walk belongs to ${to.value} now.`, { undo: () => post(`/walks/${walk.walk_id}/move`, { name: owner.name }) });
    again();
  }));
  const height = walk.measures.find(({ name }) => name === HEIGHT);
  return el("li", {},
    el("span", { class: "who" }, walk.source),
    el("span", { class: "hint" }, [walk.seen_from && `from ${walk.seen_from}`, height && `${Math.round(height.value)} px high`, `${count(walk.frames, "silhouette")}${walk.has_silhouettes ? "" : ", not kept"}`, walk.seconds && seconds(walk.seconds), day(walk.added), walk.model_id].filter(Boolean).join(" · ")),
    clothes(worn.then((all) => all[walk.walk_id])),
    gaitOf(walk),
    el("span", { class: "row-actions" }, others.length > 0 && to,
      el("button", { type: "button", class: "plain small", onclick: action(async () => {
        if (owner.walk_list.length === 1) return forget(owner, go);
        const { key } = await remove(`/walks/${walk.walk_id}`);
        await again();
        notify("The walk is deleted. For ten minutes it can be put back.", { undo: restoring(key) });
      }) }, "Delete")));
}

async function forget(found, go) {
  const traces = await get(`/people/${found.person_id}/traces`);
  const list = (title, items) => items.length > 0 && [el("h3", {}, title), el("ul", {}, items.map((item) => el("li", {}, item)))];
  const wanted = await confirmed(`Forget ${found.name}?`, el("div", { class: "forgetting" },
    el("p", {}, "This will be deleted for good:"),
    el("ul", {},
      el("li", {}, `${found.name} with ${count(traces.walks, "walk")}: embeddings, silhouettes, picture, consent note, and the name in the gallery’s log`),
      traces.results.map((job) => el("li", {}, `the result of the run “${titleOf(job)}”, which names ${found.name}: videos, report, tables, silhouettes, features`)),
      traces.only.map((name) => el("li", {}, `the upload ${name}, in which nobody else was found`)),
      el("li", {}, "the cache of what was found in videos, which makes further runs faster")),
    list(`These uploads stay, because they show other people too. “${found.name}” is removed from their names. You can delete them on the page “New run”:`, traces.shared),
    list("These files in the input folder stay. Delete them there:", traces.files),
    el("p", { class: "hint" }, "You can make results about other people again. The program cannot delete copies that you have made elsewhere.")), "Forget");
  if (!wanted) return;
  const done = await remove(`/people/${found.person_id}`);
  await go("/people");
  notify(`Forgotten: ${count(done.walks, "walk")} and ${count(done.results, "result")} are deleted.`);
}
