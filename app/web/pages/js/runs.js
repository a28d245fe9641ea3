// The list of runs, which is updated while they go on, and the progress of one run.

import { follow, get, post, remove } from "./api.js";
import { action, confirmed, el, replaceKeepingPlace } from "./dom.js";
import { findable } from "./find.js";
import { count, moment, roughly } from "./format.js";

const STATES = { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled", interrupted: "interrupted" };

export async function runs({ signal }) {
  const jobs = await get("/jobs");
  return [el("h1", {}, "Runs"),
    jobs.length ? allJobs(jobs, signal) : el("p", { class: "empty" }, "No run yet. ", el("a", { href: "/" }, "Begin one"), ".")];
}

/** Every run, in a list that can be searched; those that change while it is open are drawn anew. */
function allJobs(jobs, signal) {
  const now = new Map(jobs.map((job) => [job.job_id, job]));
  const shown = new Map();
  const stop = follow((job) => {
    now.set(job.job_id, job);
    const card = shown.get(job.job_id);
    if (card) replaceKeepingPlace(card, [...jobCard(job).childNodes]);
  }, (jobId) => shown.get(jobId)?.remove());
  signal.addEventListener("abort", stop);
  const has = (...states) => (job) => states.includes(now.get(job.job_id).state);
  return findable(jobs, (job) => [titleOf(job), comparedWith(job), moment(job.created), ...Object.values(job.names)].join(" "), (job) => {
    const card = jobCard(now.get(job.job_id));
    shown.set(job.job_id, card);
    return card;
  }, { label: "Find a run", kind: "jobs", timesOf: (job) => [job.created], choice: { label: "Which runs", options: [
    ["All", () => true], ["Done", has("done")], ["Not ended", has("queued", "running")], ["Without a result", has("failed", "cancelled", "interrupted")]] } });
}

/** Make a list of cards that is updated from the server until `signal` ends it. */
export function liveJobs(jobs, signal) {
  const cards = new Map(jobs.map((job) => [job.job_id, jobCard(job)]));
  const list = el("ul", { class: "jobs" }, [...cards.values()]);
  const stop = follow((job) => {
    const before = cards.get(job.job_id);
    if (before) replaceKeepingPlace(before, [...jobCard(job).childNodes]);
  }, (jobId) => cards.get(jobId)?.remove());
  signal.addEventListener("abort", stop);
  return list;
}

function jobCard(job) {
  return el("li", { class: "card job" },
    el("a", { href: `/runs/${job.job_id}` }, titleOf(job)),
    el("span", { class: `state ${job.state}` }, STATES[job.state]),
    el("span", { class: "hint" }, comparedWith(job), ` · ${moment(job.created)}`, job.state === "running" && ` · ${outlook(job)}`),
    job.state === "running" && wholeBar(job));
}

export function titleOf(job) {
  const names = job.probes.map((id) => job.names[id]);
  return names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(" and ");
}

export function comparedWith(job) {
  return { compare: `Compared with the people in ${job.names[job.gallery]}`, identify: `Compared with the gallery (false accepts: ${Number((100 * job.far).toPrecision(3))}\u00a0%)`, survey: "People are found. They get names when you enrol them" }[job.kind];
}

/** How long a running job will probably still take. */
function outlook(job) {
  if (!job.steps.length) return "loading the networks";
  if (job.left === null) return "estimating the time left";
  return job.left < 1 ? "finishing" : `about ${roughly(job.left)} left`;
}

function wholeBar(job) {
  return el("progress", { max: 1, value: job.share, "aria-label": "The whole run" });
}

/** What is shown of a run that has no result, or none yet. */
export function progressOf(job, { again, go }) {
  const message = {
    queued: job.waits_for ? `Waiting for ${count(job.waits_for, "earlier run")}.` : "This run begins in a moment.",
    running: "", done: "",
    failed: job.message, interrupted: job.message,
    cancelled: "This run was cancelled.",
  }[job.state];
  const open = job.state === "queued" || job.state === "running";
  const isFault = job.state === "failed" || job.state === "interrupted";
  return el("section", { class: "card progress" },
    message && el("p", { class: isFault ? "error" : "muted", role: isFault ? "alert" : null }, message),
    job.state === "running" && el("div", { class: "whole" }, el("strong", {}, upper(outlook(job))), wholeBar(job)),
    el("ol", { class: "steps" }, job.steps.map((step, place) => stepOf(step, open && place === job.steps.length - 1))),
    job.models.length > 0 && el("details", {}, el("summary", {}, "Models"), el("ul", { class: "small-print" }, job.models.map((line) => el("li", {}, line)))),
    job.warnings.map((warning) => el("p", { class: "warning" }, warning)),
    el("div", { class: "actions" },
      open && el("button", { type: "button", onclick: action(() => post(`/jobs/${job.job_id}/cancel`)) }, "Cancel"),
      !open && el("button", { class: "primary", type: "button", onclick: action(async () => { await post(`/jobs/${job.job_id}/restart`); again(); }) }, "Start again"),
      !open && deleteButton(job, go)));
}

function stepOf(step, active) {
  const numbers = [
    step.total ? `${step.done} of ${step.total} frames` : `${step.done} frames`,
    step.rate && `${step.rate.toFixed(1)} frames/s`,
  ].filter(Boolean);
  return el("li", { class: active ? "active" : "" },
    el("span", {}, step.title),
    el("span", { class: "hint" }, numbers.join(" · ")));
}

function upper(text) {
  return text[0].toUpperCase() + text.slice(1);
}

export function deleteButton(job, go) {
  return el("button", { type: "button", class: "quiet-danger", onclick: action(async () => {
    const text = "The painted videos, report, silhouettes and features of this run are deleted. The original videos and walks that were enrolled from this run stay.";
    if (!await confirmed("Delete this run?", el("p", {}, text), "Delete")) return;
    await remove(`/jobs/${job.job_id}`);
    await go("/runs");
  }) }, "Delete run");
}
