"use strict";
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

// A click on a place in a timeline, or on a time beside a name, plays the video from there.
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-seek]");
  const video = link && document.getElementById(link.dataset.video);
  if (!video || video.error) return;
  event.preventDefault();
  video.currentTime = Number(link.dataset.seek);
  video.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
  if (!still) video.play().catch(() => {});
});

// A line through each timeline shows the current time of its video.
for (const timeline of document.querySelectorAll(".timeline")) {
  const video = document.getElementById(timeline.dataset.video);
  const place = () => {
    timeline.style.setProperty("--now", `${(100 * video.currentTime) / Number(timeline.dataset.seconds)}%`);
    if (!video.paused) requestAnimationFrame(place);
  };
  for (const event of ["play", "seeking", "timeupdate"]) video.addEventListener(event, place);
}

for (const video of document.querySelectorAll("video")) {
  video.addEventListener("error", () => {
    video.hidden = true;
    video.nextElementSibling.hidden = false;
  });
  if (video.error) video.dispatchEvent(new Event("error"));
}

// Long lists of walks can be searched by name, track and reason.
for (const find of document.querySelectorAll(".find")) {
  find.hidden = false;
  const [field, says] = find.children;
  const cards = [...find.parentElement.querySelectorAll(".track")];
  const texts = cards.map((card) => [...card.querySelectorAll("h4, .facts, .reason")].map((part) => part.textContent.toLocaleLowerCase()).join(" "));
  field.addEventListener("input", () => {
    const wanted = field.value.toLocaleLowerCase().split(/\s+/);
    cards.forEach((card, place) => { card.hidden = !wanted.every((word) => texts[place].includes(word)); });
    says.textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length}`;
  });
}

// A printed page has no list of walks to open.
addEventListener("beforeprint", () => document.querySelectorAll(".all, .person details").forEach((details) => { details.open = true; }));

// A link to something inside a closed list opens the list.
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.closest("details");
  if (details) {
    details.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", open);
open();

// The table of distances is one stop for the Tab key. The arrow keys move within it.
const matrix = document.querySelector(".matrix");
if (matrix) {
  const says = document.querySelector(".says");
  const rows = [...matrix.tBodies[0].rows].map((row) => [...row.querySelectorAll("td")]);
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const describe = (event) => {
    const cell = event.target.closest("[data-says]");
    if (cell) says.textContent = cell.dataset.says;
  };
  let current = matrix.querySelector("td[data-says]");
  if (current) current.tabIndex = 0;
  matrix.addEventListener("mouseover", describe);
  matrix.addEventListener("focusin", (event) => {
    const cell = event.target.closest("[data-says]");
    if (!cell) return;
    current.tabIndex = -1;
    current = cell;
    current.tabIndex = 0;
    describe(event);
  });
  matrix.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    const row = rows.findIndex((cells) => cells.includes(event.target));
    if (!move || row < 0) return;
    const next = rows[row + move[0]]?.[rows[row].indexOf(event.target) + move[1]];
    event.preventDefault();
    if (!next?.dataset.says) return;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest", inline: "center", behavior: "instant" });
  });
}
