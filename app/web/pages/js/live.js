// Cameras as they are: pictures with the names of people as they settle, and what was seen.

import { get, pictureOf, post, put, remove } from "./api.js";
import { action, confirmed, el, notify } from "./dom.js";

const KNOWN = "#84c9c0";
const UNKNOWN = "#d0d2d4";

export async function live({ signal, again }) {
  const [state, videos] = await Promise.all([get("/live"), get("/videos")]);
  const cards = new Map(state.cameras.map((camera) => [camera.name, cameraCard(camera, again)]));
  const events = el("ol", { class: "events", reversed: true, tabindex: 0, "aria-label": "What was seen" }); // it scrolls, also by keyboard
  const problem = el("p", { class: "error", role: "alert", hidden: true });
  const fill = (now) => {
    for (const camera of now.cameras) cards.get(camera.name)?.say(camera, now.watching);
    for (const event of now.events) events.prepend(eventEntry(event));
    while (events.children.length > 100) events.lastChild.remove();
    problem.hidden = !now.problem;
    problem.textContent = now.problem ?? "";
  };
  fill(state);
  if (state.watching) {
    for (const card of cards.values()) keepShowing(card, signal);
    keepAsking(state.events.at(-1)?.number ?? 0, fill, signal);
  }
  return [
    el("h1", {}, "Live"),
    el("p", { class: "lead" }, "These cameras are watched while the server runs. A name appears as soon as the person has been compared several times with the same result."),
    problem,
    state.cameras.length > 0 && el("div", { class: "live" },
      el("div", {}, el("div", { class: "cameras" }, [...cards.values()].map((card) => card.node)),
        el("div", { class: "actions left" }, el("button", { type: "button", onclick: action(async () => {
          await put("/live/watching", { watching: !state.watching });
          await again();
        }) }, state.watching ? "Stop watching" : "Watch again")),
        numbering(state, again)),
      el("section", { class: "seen" }, el("h2", {}, "What was seen"), events)),
    el("details", { open: state.cameras.length === 0 }, el("summary", {}, "Add a camera"), addForm(videos, again)),
  ].filter(Boolean);
}

/** Whether strangers get numbers: what is kept of them is said before. */
function numbering(state, again) {
  const box = el("input", { type: "checkbox", id: "numbers", checked: state.strangers, onchange: action(async () => {
    try {
      await put("/live/strangers", { strangers: box.checked });
    } finally {
      await again(); // which shows how it is
    }
  }) });
  return el("label", { class: "check" }, box, el("span", {}, "Give numbers to strangers",
    el("span", { class: "hint" }, "Somebody without a name gets a number, which stays the same on all cameras and days. For that, up to ten walks of each stranger are kept, with a picture, until 7 days after they were last seen. ", el("a", { href: "/strangers" }, "All strangers"))));
}

async function keepAsking(number, fill, signal) {
  let after = number;
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (document.hidden || signal.aborted) continue;
    try {
      const now = await get(`/live?after=${after}`);
      after = now.events.at(-1)?.number ?? after;
      fill(now);
    } catch { /* the server is restarted, or away for a moment */ }
  }
}

async function keepShowing(card, signal) {
  let after = 0;
  while (!signal.aborted) {
    try {
      const found = document.hidden ? null : await pictureOf("GET", `/live/cameras/${encodeURIComponent(card.name)}/picture?after=${after}`);
      if (found) {
        after = found.about.number;
        card.draw(found);
      } else if (document.hidden) {
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

function cameraCard(camera, again) {
  const canvas = el("canvas", { width: 640, height: 360, role: "img", "aria-label": `${camera.name}: no picture yet` });
  const said = el("p", { class: "hint" });
  const node = el("figure", { class: "card camera" }, canvas,
    el("figcaption", {}, el("strong", {}, camera.name), said,
      el("span", { class: "row-actions" },
        el("button", { type: "button", class: "small", onclick: () => snapshot(canvas, camera.name) }, "Snapshot"),
        el("button", { type: "button", class: "plain small", "aria-label": `Remove ${camera.name}`, onclick: action(async () => {
          if (!await confirmed(`Remove ${camera.name}?`, el("p", {}, "It will no longer be watched. What it has seen stays in the gallery’s log."), "Remove")) return;
          await remove(`/live/cameras/${encodeURIComponent(camera.name)}`);
          await again();
        }) }, "Remove"))));
  return {
    name: camera.name,
    node,
    draw: ({ bitmap, about }) => draw(canvas, bitmap, about.labels, camera.name),
    say: (now, watching) => { said.textContent = stateOf(now, watching); },
  };
}

function stateOf(camera, watching) {
  if (!watching) return "not watched";
  if (camera.problem) return camera.problem;
  if (camera.state !== "watching") return { closed: "not watched at this hour", done: "the video has ended" }[camera.state] ?? "opening";
  const share = camera.dropped / Math.max(1, camera.frames + camera.dropped);
  return [`${camera.frames} frames`, `${Math.round(100 * share)} % dropped`, camera.latency !== null && `${Math.round(1000 * camera.latency)} ms late`].filter(Boolean).join(" · ");
}

function draw(canvas, bitmap, labels, name) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const size = Math.max(12, Math.round(Math.min(canvas.width, canvas.height) / 28));
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const boxes = labels.map((label) => label.box.map((side, place) => side * (place % 2 ? canvas.height : canvas.width)));
  const texts = labels.map((label) => (label.name ? label.name + (label.doubtful ? "?" : "") : label.note || "unknown"));
  const colours = labels.map((label) => (label.name ? KNOWN : UNKNOWN));
  const wides = texts.map((text) => context.measureText(text).width + size);
  context.lineWidth = Math.max(2, size / 6);
  boxes.forEach(([left, top, right, bottom], index) => {
    context.strokeStyle = colours[index];
    context.strokeRect(left, top, right - left, bottom - top);
  });
  places(boxes, wides, 1.5 * size, canvas.width, canvas.height).forEach(([x, y], index) => {
    context.fillStyle = "rgb(13 14 14 / 0.85)";
    context.fillRect(x, y, wides[index], 1.4 * size);
    context.fillStyle = labels[index].name ? KNOWN : "#f2f1ee";
    context.fillText(texts[index], x + size / 2, y + 0.2 * size);
  });
  canvas.ariaLabel = `${name}: ${labels.length ? labels.map((label) => label.name ?? "somebody unknown").join(", ") : "nobody in view"}`;
}

/** Where the labels of boxes go, [x, y] for each: above or below the box, where no other label is if there is room. */
export function places(boxes, wides, tall, width, height) {
  const taken = [];
  return boxes.map(([left, top, , bottom], index) => {
    const wide = wides[index];
    const x = Math.max(0, Math.min(left, width - wide));
    const rows = [top - tall, bottom, top - 2 * tall, bottom + tall, top, top - 3 * tall].map((y) => Math.max(0, Math.min(y, height - tall)));
    const isFree = (y) => !taken.some(([a, b, w]) => x < a + w && a < x + wide && y < b + tall && b < y + tall);
    const y = rows.find(isFree) ?? rows[0];
    taken.push([x, y, wide]);
    return [x, y];
  });
}

function snapshot(canvas, name) {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name} ${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

function eventEntry(event) {
  const number = event.stranger && Number(event.stranger.split("-").at(-1)); // numbers are those of the pages
  const who = event.name ?? (event.stranger ? el("a", { href: `/strangers/${number}` }, event.stranger) : "Somebody unknown");
  const text = {
    appeared: ["Somebody has come into view"], named: [who, " was recognised"], renamed: [`${event.before} is ${event.name ?? "unknown"} after all`],
    left: [who, event.stranger && event.new === false ? " was here again, and has left" : " has left"],
    crossed: [who, ` has crossed ${event.line}`], lost: ["The camera broke off"], back: ["The camera is back"], moved: [who, ` came from ${event.from}`],
  }[event.event];
  return el("li", {}, el("time", { datetime: event.time }, new Date(event.time).toLocaleTimeString()), " ", el("strong", {}, event.source), " ", text);
}

function addForm(videos, again) {
  const name = el("input", { id: "camera", required: true, maxlength: 60, autocomplete: "off" });
  const address = el("input", { id: "address", autocomplete: "off", spellcheck: "false", placeholder: "rtsp://user:password@192.168.0.9/stream, or 0" });
  const video = el("select", { id: "instead" }, el("option", { value: "" }, "None"), videos.map((one) => el("option", { value: one.video_id }, one.name)));
  const canvas = el("canvas", { hidden: true, role: "img", "aria-label": "Test picture" });
  const chosen = () => (video.value ? { video_id: video.value } : { address: address.value.trim() });
  return el("form", { class: "token", onsubmit: action(async () => {
    await post("/live/cameras", { name: name.value.trim(), ...chosen() });
    await again();
    notify(`${name.value.trim()} is watched from now on.`);
  }) },
  el("label", { for: "camera" }, "Name"), name,
  el("label", { for: "address" }, "Address"), address,
  el("label", { for: "instead" }, "Or play a video"), video,
  el("div", { class: "actions left" },
    el("button", { type: "button", onclick: action(async () => {
      const { bitmap } = await pictureOf("POST", "/live/test", chosen());
      canvas.hidden = false;
      draw(canvas, bitmap, [], "Test picture");
    }) }, "Test"),
    el("button", { class: "primary" }, "Add")),
  canvas);
}
