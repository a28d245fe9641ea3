// One run: its progress, then its result.

import { follow, get } from "./api.js";
import { el, replaceKeepingPlace } from "./dom.js";
import { findable } from "./find.js";
import { count, seconds } from "./format.js";
import { Player } from "./player.js";
import { comparedWith, deleteButton, progressOf, titleOf } from "./runs.js";
import { showTrack } from "./track.js";

let last = { job: null, place: null, time: 0 }; // what was last looked at; naming somebody reloads the page and comes back to it

/** Tell somebody who looks at another window that a run has ended, if the browser may. */
function tellEnd(job) {
  if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
  new Notification(job.state === "done" ? "The run is done" : "The run has ended", { body: titleOf(job), tag: job.job_id });
}

function notifyChoice() {
  if (!("Notification" in window) || Notification.permission !== "default") return null;
  const button = el("button", { type: "button", class: "plain small", onclick: async () => {
    await Notification.requestPermission();
    button.remove();
  } }, "Tell me when it ends");
  return button;
}

export async function run(page, jobId) {
  const job = await get(`/jobs/${jobId}`);
  const heading = el("h1", {}, titleOf(job));
  const compared = comparedWith(job);
  if (job.state !== "done") {
    const body = el("div", { tabindex: -1 }, progressOf(job, page));
    const stop = follow((changed) => {
      if (changed.job_id !== jobId) return;
      if (!["queued", "running"].includes(changed.state)) tellEnd(changed);
      if (changed.state === "done") page.again();
      else replaceKeepingPlace(body, [progressOf(changed, page)]);
      job.state = changed.state;
    }, (gone) => gone === jobId && page.go("/runs"));
    page.signal.addEventListener("abort", stop);
    const open = job.state === "queued" || job.state === "running";
    return [heading, el("p", { class: "lead" }, `${compared}.`), body, open && notifyChoice()].filter(Boolean);
  }
  const result = await get(`/jobs/${jobId}/result`);
  return [heading, el("p", { class: "lead" }, `${compared}. It took ${seconds(result.timings.total)}.`), await resultOf(job, result, page)];
}

async function resultOf(job, result, page) {
  const colours = new Map(result.identities.map((known) => [known.name, known.colour]));
  const stage = el("div", { class: "stage" });
  const tabs = el("div", { class: "tabs", role: "group", "aria-label": "Videos" });
  const buttons = result.videos.map((video, place) =>
    el("button", { type: "button", onclick: () => choose(place) }, video.name, video.role === "gallery" && el("span", { class: "tag" }, "gallery")));
  tabs.append(...buttons);
  let player = null, wanted = null;

  async function choose(place) {
    wanted = place;
    const boxes = await get(`/jobs/${job.job_id}/videos/${place}/boxes`);
    if (wanted !== place) return; // somebody has chosen another video meanwhile
    const time = last.job === job.job_id && last.place === place ? last.time : 0;
    last = { job: job.job_id, place, time };
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === place)));
    const video = result.videos[place];
    player?.close();
    const open = (track) => {
      player.pause();
      showTrack({ job, place, video, track, colours, player, page });
    };
    player = new Player(`/api/jobs/${job.job_id}/files/${encodeURIComponent(video.painted)}`, video, boxes, open,
      (track) => nameOf(track) !== paintedNameOf(track) && { name: nameOf(track), colour: colourOf(track, colours) });
    stage.replaceChildren(
      el("div", { class: "watch" }, player.node, video.warnings.map((warning) => el("p", { class: "warning" }, warning))),
      trackList(job, place, video, colours, player, open));
    if (time) player.seek(time);
  }

  page.signal.addEventListener("abort", () => player?.close());
  const [, place, trackId] = location.hash.match(/^#(\d+)\/(\d+)$/)?.map(Number) ?? [];
  const linked = result.videos[place]?.tracks.find((track) => track.track_id === trackId);
  if (linked) {
    last = { job: job.job_id, place, time: linked.spans[0][0] };
    history.replaceState(null, "", location.pathname); // the page is drawn anew after each naming
  }
  await choose(last.job === job.job_id ? last.place : result.videos.findIndex((video) => video.role === "probe"));
  const file = (name, text) => result.files.includes(name) &&
    el("a", { class: "button", href: `/api/jobs/${job.job_id}/files/${encodeURIComponent(name)}`, target: name.endsWith("html") ? "_blank" : null, download: !name.endsWith("html") }, text);
  return [
    result.videos.length > 1 && tabs,
    stage,
    result.failures.map((failure) => el("p", { class: "error" }, failure)),
    job.warnings.map((warning) => el("p", { class: "warning" }, warning)),
    el("details", {}, el("summary", {}, "Models"), el("ul", { class: "small-print" }, job.models.map((line) => el("li", {}, line)))),
    el("div", { class: "actions left" }, file("report.html", "Full report"), result.videos.map((video) => file(video.painted, result.videos.length > 1 ? `Video: ${video.name}` : "Painted video")), file("results.csv", "Table (CSV)"), file("results.json", "Everything (JSON)"), deleteButton(job, page.go)),
  ].flat().filter(Boolean).reduce((box, part) => { box.append(part); return box; }, el("div", {}));
}

function trackList(job, place, video, colours, player, open) {
  const length = video.frame_count / video.fps;
  const usable = video.tracks.filter((track) => track.status !== "unusable");
  const rest = video.tracks.filter((track) => track.status === "unusable");
  const row = (track) => {
    const spans = track.spans.map(([begin, end]) => el("span", { style: {
      left: `${(100 * begin) / length}%`, width: `${Math.max(0.6, (100 * (end - begin)) / length)}%`, background: colourOf(track, colours) } }));
    return el("li", {}, el("button", { type: "button", class: "track", "data-key": `track ${track.track_id}`, onclick: () => open(track) },
      el("img", { src: cropOf(job, place, track), alt: "", loading: "lazy" }),
      el("span", { class: "who" }, nameOf(track)),
      el("span", { class: "hint" }, noteOf(track)),
      el("span", { class: "presence", "aria-hidden": "true" }, spans, el("i", {}))));
  };
  const list = el("div", { class: "people-seen" },
    el("h2", {}, count(usable.length, "walk")),
    usable.length > 0 && !usable.some((track) => track.labelled) && el("p", { class: "hint" }, "Click on somebody, here or in the video, to say who it is."),
    usable.length ? findable(usable, nameOf, row, { label: "Find a walk", kind: "tracks", choice: { label: "Which walks", options: [
      ["All", () => true], ["Unknown only", (track) => nameOf(track) === "Unknown"], ["Named", (track) => nameOf(track) !== "Unknown"]] } }) : el("p", { class: "muted" }, "Nobody in this video could be compared. The tracks below say why."),
    rest.length > 0 && el("details", { class: "unusable" }, el("summary", {}, `${count(rest.length, "track")} not usable`), el("ul", { class: "tracks" }, rest.map(row))));
  player.onTime = (time) => {
    last.time = time;
    list.style.setProperty("--now", `${(100 * time) / length}%`);
  };
  return list;
}

export function cropOf(job, place, track) {
  return `/api/jobs/${job.job_id}/videos/${place}/crops/${track.track_id}`;
}

export function colourOf(track, colours) {
  if (track.person) return colours.get(track.person.name) ?? "#9a9c9e";
  return track.status === "identified" ? colours.get(track.identity) ?? "#9a9c9e" : track.status === "unknown" ? "#9a9c9e" : "#6b6e71";
}

export function nameOf(track) {
  const name = track.person?.name ?? track.identity;
  if (!name) return track.status === "unusable" ? "Not usable" : "Unknown";
  return track.sureness.doubtful && !track.labelled ? `${name}?` : name;
}

/** The name of a track that is painted into the video; people may have been named or renamed since. */
function paintedNameOf(track) {
  if (track.status === "unusable") return nameOf(track);
  if (!track.painted) return "Unknown";
  return (track.person?.name ?? track.identity) === track.painted ? nameOf(track) : track.painted;
}

function noteOf(track) {
  if (track.labelled) return "enrolled";
  if (track.status === "unusable") return track.reason.split(":")[0];
  if (track.status === "unknown") return track.candidates.length ? `nearest ${track.candidates[0].identity} ${track.sureness.text}` : "";
  return track.probability === null || track.probability === undefined ? track.sureness.text : `probability ${track.sureness.text}`;
}
