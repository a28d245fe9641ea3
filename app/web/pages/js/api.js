// Talking to the server.

import { root } from "./dom.js";

export let session = null;

export class SignInNeeded extends Error {}

export async function beginSession() {
  session = await (await fetch(`${root}/api/session`)).json();
  return session;
}

async function answerOf(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  const detail = await response.json().then((content) => content.detail, () => null);
  const message = typeof detail === "string" ? detail : detail?.[0]?.msg ?? `The server answered ${response.status}.`;
  throw response.status === 401 ? new SignInNeeded(message) : new Error(message);
}

async function respond(method, path, content) {
  const request = () => fetch(`${root}/api${path}`, {
    method,
    headers: {
      ...(method === "GET" ? {} : { "X-Gaitprint-Token": session.token }),
      ...(content === undefined ? {} : { "Content-Type": "application/json" }),
    },
    body: content === undefined ? undefined : JSON.stringify(content),
  });
  let response;
  try {
    response = await request();
    if (response.status === 401 || response.status === 403) { // the server may have been restarted
      const before = session.token;
      if ((await beginSession()).token !== before && session.signed_in) response = await request();
    }
  } catch {
    throw new Error("The server cannot be reached.");
  }
  return response;
}

async function ask(method, path, content) {
  return answerOf(await respond(method, path, content));
}

/** Ask for a picture; returns it as a bitmap with what the header X-Picture says, or null where there is none. */
export async function pictureOf(method, path, content) {
  const response = await respond(method, path, content);
  if (!response.ok || response.status === 204) return answerOf(response);
  return { bitmap: await createImageBitmap(await response.blob()), about: JSON.parse(response.headers.get("X-Picture") ?? "{}") };
}

export const get = (path) => ask("GET", path);
export const post = (path, content = {}) => ask("POST", path, content);
export const put = (path, content) => ask("PUT", path, content);
export const patch = (path, content) => ask("PATCH", path, content);
export const remove = (path) => ask("DELETE", path);

export async function signIn(password) {
  await post("/login", { password });
  await beginSession();
}

export async function signOut() {
  await post("/logout");
  await beginSession();
}

/** Send a request with bytes or headers of its own; `onProgress` gets the bytes that are sent. Returns a promise of the
 * answer, which rejects with `Broken` where the connection breaks, and a function that stops it. */
export function send(method, path, { headers = {}, body = null, onProgress = () => {} } = {}) {
  const request = new XMLHttpRequest(); // unlike fetch it tells how much is sent
  const done = new Promise((resolve, reject) => {
    request.open(method, `${root}/api${path}`);
    request.setRequestHeader("X-Gaitprint-Token", session.token);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new Broken("The connection broke.")));
    request.addEventListener("abort", () => reject(new Error("Stopped.")));
    request.send(body);
  });
  return [done, () => request.abort()];
}

export class Broken extends Error {}

/** Why a request that `send` sent was refused. */
export async function refusalOf(request) {
  return answerOf(new Response(request.responseText, { status: request.status })).then(() => null, (error) => error);
}

/** Call `onJob` with each run that changes and `onGone` with the id of each that is deleted; returns a function that ends it. */
export function follow(onJob, onGone = () => {}) {
  let source = null;
  let ended = false;
  function open() {
    source = new EventSource(`${root}/api/events`);
    source.addEventListener("job", (event) => onJob(JSON.parse(event.data)));
    source.addEventListener("gone", (event) => onGone(JSON.parse(event.data).job_id));
    source.addEventListener("error", async () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
      await new Promise((resolve) => setTimeout(resolve, 2000));
      await beginSession().catch(() => {}); // the server was restarted
      if (!ended && session.signed_in) open();
    });
  }
  open();
  return () => {
    ended = true;
    source.close();
  };
}
