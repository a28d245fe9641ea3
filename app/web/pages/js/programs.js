// Tokens for programs, and what their requests can be.

import { get, post, remove } from "./api.js";
import { action, confirmed, el, notify, openDialog, root } from "./dom.js";
import { day } from "./format.js";

const SCOPES = [
  ["read", "see everything"],
  ["enrol", "also upload, start runs and name walks"],
  ["admin", "do everything, also forget people"],
];

export async function programs({ again }) {
  const [clients, schema] = await Promise.all([get("/clients"), get("/openapi.json")]);
  return [
    el("h1", {}, "Programs"),
    el("p", { class: "lead" }, "Other programs can do everything that this page does. Each needs a token of its own, which you can revoke at any time."),
    el("section", {}, el("h2", {}, "Tokens"), clients.length
      ? el("ul", { class: "walks" }, clients.map((client) => row(client, again)))
      : el("p", { class: "muted" }, "No program has a token yet."), form(again)),
    el("section", {}, el("h2", {}, "Requests"),
      el("p", {}, "Send the token as the header ", el("code", {}, "Authorization: Bearer TOKEN"), ". The addresses begin with ", el("code", {}, `${location.origin}${root}`), ". The whole description is in the format OpenAPI at ",
        el("a", { href: "/api/openapi.json", target: "_blank" }, "openapi.json"), "."),
      groupsOf(schema).map(([tag, requests]) => el("details", {}, el("summary", {}, tag, ` (${requests.length})`), el("ul", { class: "requests" }, requests.map((request) => shown(request, schema)))))),
  ];
}

function row(client, again) {
  return el("li", {},
    el("span", { class: "who" }, client.name),
    el("span", { class: "hint" }, `${client.scope}: may ${SCOPES.find(([scope]) => scope === client.scope)[1]} · since ${day(client.created)}`),
    el("span", { class: "row-actions" }, el("button", { type: "button", class: "plain small", "aria-label": `Revoke the token of ${client.name}`, onclick: action(async () => {
      if (!await confirmed(`Revoke the token of ${client.name}?`, el("p", {}, "The program can then do nothing here. A revoked token cannot be restored, but you can make a new one."), "Revoke")) return;
      await remove(`/clients/${encodeURIComponent(client.name)}`);
      await again();
    }) }, "Revoke")));
}

function form(again) {
  const name = el("input", { id: "program", required: true, maxlength: 60, autocomplete: "off" });
  const scope = el("select", { id: "scope" }, SCOPES.map(([value, text]) => el("option", { value }, `${value}: ${text}`)));
  return el("form", { class: "token", onsubmit: action(async () => {
    const { token } = await post("/clients", { name: name.value.trim(), scope: scope.value });
    await again();
    const field = el("input", { readonly: true, value: token, "aria-label": "Token" });
    openDialog(`The token of ${name.value.trim()}`, el("p", {}, "Copy it now. It is not stored, so it cannot be shown again."), field,
      el("div", { class: "actions" }, el("button", { type: "button", class: "primary", onclick: action(async () => {
        field.select();
        await navigator.clipboard.writeText(token);
        notify("The token is copied.");
      }) }, "Copy")));
  }) },
  el("label", { for: "program" }, "Name of the program"), name, el("label", { for: "scope" }, "It may"), scope,
  el("button", {}, "Make a token"));
}

/** The requests of a description in OpenAPI, by what they are about. */
function groupsOf(schema) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(schema.paths)) {
    for (const [method, about] of Object.entries(methods)) {
      const tag = about.tags[0];
      groups.set(tag, [...(groups.get(tag) ?? []), { method: method.toUpperCase(), path, about }]);
    }
  }
  return [...groups].sort(([one], [other]) => one.localeCompare(other));
}

function shown({ method, path, about }, schema) {
  const fields = [
    ...(about.parameters ?? []).filter((parameter) => parameter.in === "query").map((parameter) => `?${parameter.name}`),
    ...Object.values(about.requestBody?.content ?? {}).flatMap(({ schema: body }) => fieldsOf(body, schema)),
  ];
  return el("li", {},
    el("code", {}, `${method} ${path}`), " ", el("span", { class: "tag" }, about["x-scope"]),
    el("p", {}, about.description ?? about.summary),
    fields.length > 0 && el("p", { class: "hint" }, "Fields: ", fields.join(", ")));
}

function fieldsOf(body, schema) {
  const found = body.$ref ? body.$ref.split("/").slice(1).reduce((part, name) => part[name], schema) : body;
  const needed = new Set(found.required ?? []);
  return Object.keys(found.properties ?? {}).map((name) => (needed.has(name) ? `${name} (needed)` : name));
}
