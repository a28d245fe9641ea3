// A new run: which videos, and with whom the people in them are compared.

import { get, post, remove, session } from "./api.js";
import { action, confirmed, el, root } from "./dom.js";
import { bytes, clock, count } from "./format.js";
import { liveJobs } from "./runs.js";
import { add, dropped, whenArrived } from "./uploads.js";

const RATES = [[0.001, "One in a thousand"], [0.01, "One in a hundred"], [0.05, "One in twenty"], [0.1, "One in ten"]];
const chosen = { kind: null, gallery: "", probes: new Set(), blur: null, far: 0.05 }; // kept while another page is open

export async function start({ signal, go, again }) {
  let soon;
  whenArrived((video) => {
    chosen.probes.add(video);
    clearTimeout(soon);
    soon = setTimeout(again, 300); // once for several that arrive together
  });
  const [videos, { people, runs, newest }] = await Promise.all([get("/videos"), get("/overview")]);
  const ids = new Set(videos.map((video) => video.video_id));
  const usual = people ? "identify" : "survey"; // until somebody chooses
  let kind = chosen.kind === null || (chosen.kind === "identify" && !people) ? usual : chosen.kind;
  chosen.blur ??= session.blur;
  if (!ids.has(chosen.gallery)) chosen.gallery = "";
  for (const id of chosen.probes) if (!ids.has(id)) chosen.probes.delete(id);

  const summary = el("p", { class: "muted", "aria-live": "polite" });
  const startButton = el("button", { class: "primary", type: "submit" }, "Start");
  const galleryChoice = el("select", { id: "gallery", onchange: (event) => { chosen.gallery = event.target.value; refresh(); } },
    el("option", { value: "" }, "Choose a video"),
    videos.map((video) => el("option", { value: video.video_id, selected: video.video_id === chosen.gallery }, video.name)));
  const galleryField = el("div", { class: "field" },
    el("label", { for: "gallery" }, "Video of the people to recognise"), galleryChoice,
    el("p", { class: "hint" }, "Everybody in it gets a number, and is then looked for in the other videos."));
  const rateField = el("div", { class: "field" },
    el("label", { for: "far" }, "How often a stranger may be given a name"),
    el("select", { id: "far", "aria-describedby": "far-hint", onchange: (event) => { chosen.far = Number(event.target.value); } },
      RATES.map(([value, text]) => el("option", { value, selected: value === chosen.far }, text))),
    el("p", { class: "hint", id: "far-hint" }, "This holds for each person with whom a stranger is compared. The rarer it is, the more of the people you know stay without a name too. It has no effect if the gait network was not calibrated."));
  const cards = videos.map((video) => videoCard(video));
  const grid = el("div", { class: "videos" }, cards.map((card) => card.node));

  function kindOption(own, title, text, disabled = false) {
    const input = el("input", { type: "radio", name: "kind", "data-key": own, value: own, disabled, checked: kind === own, onchange: () => { chosen.kind = kind = own; refresh(); } });
    return el("label", { class: "option" }, input, el("span", {}, el("strong", {}, title), el("span", { class: "hint" }, text)));
  }

  function videoCard(video) {
    const box = el("input", { type: "checkbox", "data-key": video.video_id, checked: chosen.probes.has(video.video_id), onchange: () => {
      chosen.probes[box.checked ? "add" : "delete"](video.video_id);
      refresh();
    } });
    const picture = el("img", { alt: "", loading: "lazy" });
    const header = el("span", { class: "hint" }, bytes(video.bytes));
    const node = el("div", { class: "video" },
      el("label", {},
        picture, box,
        el("span", { class: "name" }, video.name),
        header),
      video.source === "upload" && el("button", { class: "plain small", type: "button", "aria-label": `Delete ${video.name}`, onclick: action(async () => {
        if (!await confirmed(`Delete ${video.name}?`, el("p", {}, "The upload is deleted, and the cache of what was found in videos, which makes further runs faster. Results that were made from the video stay until you delete them."), "Delete")) return;
        await remove(`/videos/${video.video_id}`);
        again();
      }) }, "Delete"));
    const fill = (seen) => {
      picture.src = `${root}/api/videos/${video.video_id}/thumbnail`;
      header.replaceChildren(seen.frames ? `${clock(seen.frames / seen.fps)} · ` : "", el("span", { class: "size" }, `${seen.width}×${seen.height} · `), bytes(video.bytes));
    };
    if (video.seen) fill(video.seen);
    return { video, box, node, fill };
  }

  /** Fill the cards of videos that the server has not looked into yet, one after the other. */
  async function fillCards() {
    for (const { video, box, node, fill } of cards.filter((card) => !card.video.seen)) {
      if (signal.aborted) return;
      try {
        fill((await get(`/videos/${video.video_id}`)).seen);
      } catch (error) {
        box.checked = false;
        box.disabled = true;
        chosen.probes.delete(video.video_id);
        node.append(el("p", { class: "error" }, error.message));
        refresh();
      }
    }
  }

  function refresh() {
    const compare = kind === "compare";
    galleryField.hidden = !compare;
    rateField.hidden = kind !== "identify";
    for (const { video, box, node } of cards) {
      const isGallery = compare && video.video_id === chosen.gallery;
      box.disabled = isGallery || node.querySelector(".error") !== null;
      if (isGallery) { box.checked = false; chosen.probes.delete(video.video_id); }
      node.classList.toggle("is-gallery", isGallery);
      node.classList.toggle("is-chosen", box.checked);
    }
    const ready = chosen.probes.size > 0 && (!compare || chosen.gallery);
    startButton.disabled = !ready;
    summary.textContent = ready
      ? `${count(chosen.probes.size, "video")}, ${{ compare: "compared with the people of a video", identify: "compared with the gallery", survey: "without names" }[kind]}.`
      : compare && !chosen.gallery ? "Choose the video of the people to recognise." : "Choose the videos to search.";
  }

  const form = el("form", { onsubmit: action(async () => {
    const job = await post("/jobs", {
      kind,
      gallery: kind === "compare" ? chosen.gallery : null,
      probes: videos.map((video) => video.video_id).filter((id) => chosen.probes.has(id)),
      blur: chosen.blur,
      far: chosen.far,
    });
    chosen.probes.clear();
    await go(`/runs/${job.job_id}`);
  }) },
  el("fieldset", { class: "options" }, el("legend", {}, "Who should be recognised?"),
    kindOption("identify", "The gallery", people ? `The ${count(people, "person", "people")} you have enrolled.` : "Nobody is enrolled yet.", !people),
    kindOption("compare", "A video", "The people in one video are looked for in others."),
    kindOption("survey", "Nobody yet", "People are found, and you can look at them and enrol them.")),
  galleryField,
  el("fieldset", {}, el("legend", {}, "Videos to search"), uploadArea(), videos.length ? grid : el("p", { class: "empty" }, `No video yet. Add one above, or put files into the folder ${session.input_videos}.`)),
  rateField,
  el("div", { class: "field" }, el("label", { for: "blur" }, "Blur in the painted videos"),
    el("select", { id: "blur", onchange: (event) => { chosen.blur = event.target.value; } },
      [["none", "Nobody"], ["faces", "All faces"], ["unknown", "Everybody who is not named"], ["everyone", "Everybody"]].map(([value, text]) =>
        el("option", { value, selected: value === chosen.blur }, text)))),
  el("div", { class: "bar" }, summary, startButton));
  refresh();
  fillCards();

  const recent = el("section", {}, el("h2", {}, "Latest runs"));
  const list = liveJobs(newest, signal);
  recent.append(list, el("p", {}, el("a", { href: "/runs" }, "All runs")));
  return [el("h1", {}, "Who is walking there?"),
    el("p", { class: "lead" }, "Gaitprint follows people through a video and recognises them by the way they walk. A name is a hint, not proof."),
    !runs && !people && tour(videos, go),
    form, runs > 0 && recent].filter(Boolean);
}

/** What a newcomer sees: how it goes, and a run on the built-in clips where they are there. */
function tour(videos, go) {
  const [gallery, probe] = ["gallery.mp4", "probe1.mp4"].map((name) => videos.find((video) => video.source === "input" && video.name === name));
  return el("section", { class: "card tour", "aria-labelledby": "tour" },
    el("h2", { id: "tour" }, "How it goes"),
    el("ol", {},
      el("li", {}, "Add a video in which people walk in full view, and choose “Nobody yet”."),
      el("li", {}, "In the result, click on somebody in the video and give them a name. They must have agreed to it."),
      el("li", {}, "All other runs then name them too, the earlier ones as well as later ones.")),
    gallery && probe && el("button", { type: "button", class: "primary", onclick: action(async () => {
      const job = await post("/jobs", { kind: "compare", gallery: gallery.video_id, probes: [probe.video_id] });
      await go(`/runs/${job.job_id}`);
    }) }, "See it on the built-in clips"));
}

/** Buttons with which videos are added, and a place to drop them; `uploads.js` sends them, whichever page is open. */
function uploadArea() {
  const choice = (id, text, more) => {
    const input = el("input", { type: "file", class: "file", id, ...more, onchange: () => { add([...input.files]); input.value = ""; } });
    return [input, el("label", { for: id, class: `button ${id}` }, text)];
  };
  const kinds = { accept: ["video/*", ...session.suffixes].join(",") };
  const area = el("div", { class: "drop" },
    choice("files", "Add videos", { ...kinds, multiple: true }),
    choice("folder", "Add a folder", { webkitdirectory: true }),
    choice("record", "Film", { accept: "video/*", capture: "environment" }),
    el("span", { class: "hint" }, `or drop videos and folders here, up to ${bytes(session.largest_upload)} each. They stay on this machine.`));
  for (const kind of ["dragenter", "dragover"]) area.addEventListener(kind, (event) => { event.preventDefault(); area.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) area.addEventListener(kind, (event) => { event.preventDefault(); area.classList.remove("over"); });
  area.addEventListener("drop", action(async (event) => add(await dropped(event.dataTransfer))));
  return area;
}
