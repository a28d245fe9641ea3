// What can be undone for ten minutes: deleted walks and merges.

import { post, remove } from "./api.js";
import { action, el, notify } from "./dom.js";

/** A function that undoes what has this key in the bin. */
export const restoring = (key) => () => post(`/bin/${key}/restore`);

/** A list of entries of the bin; false where there is none. */
export function bin(entries, again) {
  return entries.length > 0 && el("section", {}, el("h2", {}, "Can be undone"),
    el("ul", { class: "walks" }, entries.map((entry) => el("li", {},
      el("span", { class: "who" }, entry.kind === "merge" ? `${entry.name} became ${entry.into}` : `A walk of ${entry.name} from ${entry.source}`),
      el("span", { class: "hint" }, `for ${entry.seconds < 90 ? "a minute" : `${Math.round(entry.seconds / 60)} minutes`} more`),
      el("span", { class: "row-actions" },
        el("button", { type: "button", class: "small", onclick: action(async () => {
          await restoring(entry.key)();
          await again();
          notify("Undone.");
        }) }, entry.kind === "merge" ? "Make two people again" : "Put back"),
        el("button", { type: "button", class: "plain small", onclick: action(async () => {
          await remove(`/bin/${entry.key}`);
          await again();
        }) }, entry.kind === "merge" ? "Keep as one" : "Delete now"))))));
}
