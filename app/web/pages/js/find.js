// Lists that can be searched, also by date. Only as many entries are drawn as somebody will look at.

import { el } from "./dom.js";
import { count, isoDay } from "./format.js";

const FEW = 5; // entries that nobody needs to search
const STEP = 120;

/**
 * Make a list with a field that searches it.
 *
 * @param items what is listed.
 * @param textOf the text of an item that is searched.
 * @param entryOf the list entry (li) of an item.
 * @param label the label of the field.
 * @param kind the class of the list.
 * @param choice a further choice: its label, and pairs of text and a condition that items must meet.
 * @param timesOf the times of an item (s since 1970, or ISO 8601), if items can be found by date.
 * @param first how many entries are drawn at first.
 */
export function findable(items, textOf, entryOf, { label, kind, choice = null, timesOf = null, first = STEP }) {
  const list = el("ul", { class: kind });
  const said = el("p", { class: "hint", role: "status" });
  const more = el("button", { type: "button", onclick: () => { shown += STEP; draw(); } }, "Show more");
  const field = el("input", { type: "search", "aria-label": label, placeholder: label, oninput: anew });
  const select = choice && el("select", { "aria-label": choice.label, onchange: anew },
    choice.options.map(([text], place) => el("option", { value: place }, text)));
  const from = el("input", { type: "date", oninput: anew });
  const to = el("input", { type: "date", oninput: anew });
  const texts = items.map((item) => plain(textOf(item)));
  const days = timesOf && items.map((item) => timesOf(item).map(isoDay));
  let shown = first;

  function anew() {
    shown = first;
    draw();
  }

  function draw() {
    const wanted = plain(field.value).split(/\s+/).filter(Boolean);
    const condition = select ? choice.options[Number(select.value)][1] : () => true;
    const inTime = (place) => !days || (!from.value && !to.value) || days[place].some((day) => (!from.value || from.value <= day) && (!to.value || day <= to.value));
    const found = items.filter((item, place) => wanted.every((word) => texts[place].includes(word)) && inTime(place) && condition(item));
    list.replaceChildren(...found.slice(0, shown).map(entryOf));
    more.hidden = found.length <= shown;
    said.textContent = found.length === items.length ? "" : found.length ? `${found.length} of ${items.length}` : `None of ${count(items.length, "entry", "entries")}.`;
  }

  draw();
  return el("div", { class: "list" }, items.length > FEW && el("div", { class: "find", role: "search", "aria-label": label }, field, select,
    days && el("span", { class: "dates" }, el("label", {}, "From", from), el("label", {}, "To", to)), said), list, more);
}

/** Text without accents and capitals, so that "jose" finds "José". */
function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLocaleLowerCase();
}
