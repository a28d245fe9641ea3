// Lists that can be searched. Only as many entries are drawn as somebody will look at.

import { el } from "./dom.js";
import { count } from "./format.js";

const STEP = 120;

/**
 * Make a list with a field that searches it.
 *
 * @param items what is listed.
 * @param textOf the text of an item that is searched.
 * @param entryOf the list entry (li) of an item.
 * @param words the label of the field, and the class of the list.
 * @param choice a further choice: its label, and pairs of text and a condition that items must meet.
 */
export function findable(items, textOf, entryOf, { label, kind, choice = null }) {
  const list = el("ul", { class: kind });
  const said = el("p", { class: "hint", role: "status" });
  const more = el("button", { type: "button", onclick: () => { shown += STEP; draw(); } }, "Show more");
  const field = el("input", { type: "search", "aria-label": label, placeholder: label, oninput: () => { shown = STEP; draw(); } });
  const select = choice && el("select", { "aria-label": choice.label, onchange: () => { shown = STEP; draw(); } },
    choice.options.map(([text], place) => el("option", { value: place }, text)));
  const texts = items.map((item) => plain(textOf(item)));
  let shown = STEP;

  function draw() {
    const wanted = plain(field.value).split(/\s+/).filter(Boolean);
    const condition = select ? choice.options[Number(select.value)][1] : () => true;
    const found = items.filter((item, place) => wanted.every((word) => texts[place].includes(word)) && condition(item));
    list.replaceChildren(...found.slice(0, shown).map(entryOf));
    more.hidden = found.length <= shown;
    said.textContent = found.length === items.length ? "" : found.length ? `${found.length} of ${items.length}` : `None of ${count(items.length, "entry", "entries")}.`;
  }

  draw();
  return el("div", { class: "list" }, items.length > 5 && el("div", { class: "find", role: "search" }, field, select, said), list, more);
}

/** Text without accents and capitals, so that "jose" finds "José". */
function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLocaleLowerCase();
}
