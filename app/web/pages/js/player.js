// A painted video with a button over everybody in it, at their place in each frame. Who has another name now than the
// one that is painted carries it there.

import { el } from "./dom.js";
import { clock } from "./format.js";

const LONGEST_GAP = 0.5; // s between two looks at somebody who is in view all the time

export class Player {
  onTime = () => {};
  #video;
  #overlay;
  #seek;
  #time;
  #play;
  #boxes; // by track id: frames in rising order, and a box for each
  #buttons = new Map();
  #info;
  #open = true;

  constructor(source, info, boxes, onChosen, newNameOf) {
    this.#info = info;
    this.#boxes = new Map(Object.entries(boxes).map(([id, seen]) => [Number(id), seen]));
    const length = info.frame_count / info.fps;
    this.#video = el("video", { src: source, preload: "auto", playsinline: true, "aria-label": `${info.name}, painted` });
    this.#video.muted = true;
    this.#overlay = el("div", { class: "overlay" });
    for (const track of info.tracks) {
      // The list beside the video offers the same to keyboards and screen readers.
      const button = el("button", { type: "button", tabindex: -1, "aria-hidden": "true", "data-track": track.track_id, hidden: true, onclick: () => onChosen(track) });
      const renamed = newNameOf(track);
      if (renamed) button.append(el("span", { class: "renamed", style: { "--colour": renamed.colour } }, renamed.name));
      this.#buttons.set(track.track_id, button);
      this.#overlay.append(button);
    }
    this.#play = el("button", { type: "button", class: "plain play", "aria-label": "Play", onclick: () => this.toggle() }, "▶");
    this.#seek = el("input", { type: "range", min: 0, max: length, step: 1 / info.fps, value: 0, "aria-label": "Time", oninput: () => this.seek(Number(this.#seek.value)) });
    this.#time = el("span", { class: "time" }, `0:00 / ${clock(length)}`);
    const full = el("button", { type: "button", class: "plain", "aria-label": "Full screen", onclick: () => (document.fullscreenElement ? document.exitFullscreen() : this.node.requestFullscreen()) }, "⤢");
    const frame = el("div", { class: "frame", style: { "aspect-ratio": `${info.width} / ${info.height}`, "--ratio": info.width / info.height } }, this.#video, this.#overlay);
    this.node = el("div", { class: "player" }, frame, el("div", { class: "controls" }, this.#play, this.#seek, this.#time, full));
    this.#video.addEventListener("play", () => this.#setPlaying(true));
    this.#video.addEventListener("pause", () => this.#setPlaying(false));
    this.#video.addEventListener("click", () => this.toggle());
    this.#video.addEventListener("loadeddata", () => this.#show(this.#video.currentTime));
    this.#video.addEventListener("seeked", () => this.#show(this.#video.currentTime));
    this.#watch();
  }

  close() {
    this.#open = false;
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  pause() {
    this.#video.pause();
  }

  toggle() {
    if (this.#video.paused) this.#video.play();
    else this.#video.pause();
  }

  /** Show the moment `time`, in s. */
  seek(time) {
    this.#video.currentTime = time + 0.25 / this.#info.fps; // inside the frame, not on its border
    this.#show(time);
  }

  #setPlaying(playing) {
    this.#play.textContent = playing ? "❚❚" : "▶";
    this.#play.setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  #watch() {
    const next = () => {
      if (!this.#open) return;
      if (!this.#video.paused) this.#show(this.#video.currentTime);
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  /** Where somebody is in a frame; between two looks at them, in between. */
  #boxAt(id, frame) {
    const { frames, boxes } = this.#boxes.get(id) ?? { frames: [], boxes: [] };
    let low = 0, high = frames.length; // the first look after the frame is in this range
    while (low < high) {
      const middle = (low + high) >> 1;
      if (frames[middle] > frame) high = middle;
      else low = middle + 1;
    }
    const before = low - 1;
    if (before < 0) return null;
    if (frames[before] === frame) return boxes[before];
    if (low === frames.length || frames[low] - frames[before] > LONGEST_GAP * this.#info.fps) return null;
    const share = (frame - frames[before]) / (frames[low] - frames[before]);
    return boxes[before].map((side, place) => side + share * (boxes[low][place] - side));
  }

  #show(time) {
    const { fps, width, height, frame_count: count } = this.#info;
    const frame = Math.min(count - 1, Math.floor(time * fps + 1e-3));
    for (const [id, button] of this.#buttons) {
      const box = this.#boxAt(id, frame);
      button.hidden = !box;
      if (!box) continue;
      const [x1, y1, x2, y2] = box;
      button.style.setProperty("left", `${(100 * x1) / width}%`);
      button.style.setProperty("top", `${(100 * y1) / height}%`);
      button.style.setProperty("width", `${(100 * (x2 - x1)) / width}%`);
      button.style.setProperty("height", `${(100 * (y2 - y1)) / height}%`);
    }
    this.#seek.value = time;
    this.#time.textContent = `${clock(time)} / ${clock(count / fps)}`;
    this.onTime(time);
  }
}
