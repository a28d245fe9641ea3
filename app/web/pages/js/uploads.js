// Uploads, which go on whichever page is open. They are sent in pieces (tus 1.0.0), so that they go on where they were
// after the connection broke, and after a reload: from a copy in the browser, or as soon as the same file is chosen again.

import { Broken, beginSession, get, refusalOf, remove, send, session } from "./api.js";
import { alone, copiesOf, dropCopy, keepCopy } from "./copies.js";
import { action, el, notify } from "./dom.js";
import { bytes } from "./format.js";

const PIECE = 8 * 2 ** 20; // bytes
const AT_ONCE = 2;
const PAUSES = [1, 2, 5, 10, 30]; // s before each further attempt after the connection broke

/** Each: file, name, size, offset, state (waiting, sending, broken, failed, unfinished), fault, uploadId, copied, release, stop. */
const entries = [];
const place = document.getElementById("uploads");
let arrived = () => {};

/** Call `tell` with the id of each video that has arrived. */
export function whenArrived(tell) {
  arrived = tell;
}

/** Go on with uploads that an earlier visit has begun. Those whose files are not here any more wait for them. */
export async function lookForUnfinished() {
  const all = await get("/uploads");
  const copies = await copiesOf(new Set(all.map((coming) => coming.upload_id)));
  const known = new Set(entries.map((entry) => entry.uploadId));
  for (const { upload_id: uploadId, name, length: size, offset, modified } of all) {
    if (known.has(uploadId)) continue;
    const release = await alone(uploadId);
    if (release === null) continue; // another window is sending it
    const file = copies.get(uploadId) ?? null;
    entries.push({ file, name, size, offset, modified, state: file ? "waiting" : "unfinished", uploadId, copied: file && Promise.resolve(), release: file && release });
    if (!file) release(); // it may be added in any window
  }
  goOn();
}

/** Put files into the queue; those that are no videos by their names are left out. */
export function add(files) {
  const videos = files.filter((file) => file.type.startsWith("video/") || session.suffixes.some((suffix) => file.name.toLowerCase().endsWith(suffix)));
  for (const file of videos) {
    const entry = entries.find((other) => other.state === "unfinished" && other.name === file.name && other.size === file.size && other.modified === file.lastModified)
      ?? entries[entries.push({ name: file.name, size: file.size, offset: 0, modified: file.lastModified, uploadId: null }) - 1];
    Object.assign(entry, { file, state: "waiting", fault: null });
    if (file.size > session.largest_upload) Object.assign(entry, { state: "failed", fault: `It is larger than ${bytes(session.largest_upload)}.` });
  }
  if (videos.length < files.length) notify(`${files.length - videos.length} of ${files.length} files are no videos and were left out.`);
  goOn();
}

/** The files of what was dropped, those in folders too. */
export async function dropped(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // at once: the list empties itself
  const files = [...transfer.files];
  if (!roots.some((root) => root.isDirectory)) return files;
  const found = [];
  async function collect(entry) {
    if (entry.isFile) found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    if (!entry.isDirectory) return;
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
      if (!some.length) return;
      for (const inner of some) await collect(inner);
    }
  }
  for (const root of roots) await collect(root);
  return found;
}

const isOpen = (entry) => ["waiting", "sending", "broken"].includes(entry.state);

function goOn() {
  const busy = entries.filter((entry) => ["sending", "broken"].includes(entry.state)).length;
  for (const entry of entries.filter((one) => one.state === "waiting").slice(0, Math.max(0, AT_ONCE - busy))) sendAll(entry);
  draw();
}

/** Send a file to its end, however often the connection breaks. */
async function sendAll(entry) {
  entry.state = "sending";
  for (let tries = 0; ; ) {
    try {
      if (entry.uploadId === null) await begin(entry);
      else {
        entry.release ??= await alone(entry.uploadId);
        await find(entry);
      }
      while (entry.offset < entry.size) {
        await sendPiece(entry);
        tries = 0;
        if (entry.offset < entry.size) entry.copied ??= keepCopy(entry.uploadId, entry.file); // small files are there at once
      }
      break;
    } catch (error) {
      if (!entries.includes(entry)) return; // somebody has stopped it
      if (!(error instanceof Broken)) {
        Object.assign(entry, { state: "failed", fault: error.message });
        letGo(entry);
        return goOn();
      }
      entry.state = "broken";
      draw();
      await pause(PAUSES[Math.min(tries++, PAUSES.length - 1)]);
      if (!entries.includes(entry)) return;
      entry.state = "sending";
      draw();
    }
  }
  entries.splice(entries.indexOf(entry), 1);
  letGo(entry);
  arrived(entry.uploadId);
  goOn();
}

/** Keep nothing of an upload that has ended. */
async function letGo(entry) {
  entry.release?.();
  await entry.copied;
  if (entry.uploadId !== null) await dropCopy(entry.uploadId);
}

/** Wait, but not longer than until the machine is online again. */
function pause(seconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    window.addEventListener("online", resolve, { once: true });
  });
}

async function begin(entry) {
  const told = { filename: entry.name, modified: String(entry.modified) };
  const answer = await ask(entry, "POST", "/uploads", {
    "Upload-Length": String(entry.size),
    "Upload-Metadata": Object.entries(told).map(([key, value]) => `${key} ${base64(value)}`).join(","),
  });
  entry.uploadId = answer.getResponseHeader("Location").split("/").at(-1);
  entry.release?.();
  entry.release = await alone(entry.uploadId);
  entry.offset = 0;
}

/** Ask how much has arrived. An upload that the server does not know any more is begun again. */
async function find(entry) {
  try {
    entry.offset = Number((await ask(entry, "HEAD", `/uploads/${entry.uploadId}`)).getResponseHeader("Upload-Offset"));
  } catch (error) {
    if (error.status !== 404) throw error;
    await begin(entry);
  }
}

async function sendPiece(entry) {
  const from = entry.offset;
  const headers = { "Upload-Offset": String(from), "Content-Type": "application/offset+octet-stream" };
  const answer = await ask(entry, "PATCH", `/uploads/${entry.uploadId}`, headers, entry.file.slice(from, from + PIECE), (sent) => {
    entry.offset = from + sent;
    show(entry);
  });
  entry.offset = Number(answer.getResponseHeader("Upload-Offset"));
}

/** Send a request; where the server was restarted or is still busy with an earlier attempt, the connection counts as broken. */
async function ask(entry, method, path, headers = {}, body = null, onProgress = undefined) {
  const [done, stop] = send(method, path, { headers: { "Tus-Resumable": "1.0.0", ...headers }, body, onProgress });
  entry.stop = stop;
  const answer = await done;
  if (answer.status < 300) return answer;
  const refusal = await refusalOf(answer);
  if ([401, 403].includes(answer.status)) {
    const before = session.token;
    if ((await beginSession()).token !== before && session.signed_in) throw new Broken("The server was restarted.");
  }
  if ([408, 409, 423, 429, 502, 503, 504].includes(answer.status)) throw new Broken(refusal.message);
  throw Object.assign(refusal, { status: answer.status });
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Take an upload out of the queue, and what has arrived of it from the server. */
async function drop(entry) {
  entries.splice(entries.indexOf(entry), 1);
  entry.stop?.();
  letGo(entry);
  goOn();
  if (entry.uploadId === null || entry.state === "failed") return;
  for (let tries = 0; tries < 5; tries += 1) { // the server may still be busy with the last piece
    try {
      await remove(`/uploads/${entry.uploadId}`);
      return;
    } catch {
      await pause(0.3);
    }
  }
}

function saidOf(entry) {
  return {
    waiting: "waiting",
    sending: entry.offset < entry.size ? `${Math.floor((100 * entry.offset) / Math.max(1, entry.size))} % of ${bytes(entry.size)}` : "looking into it",
    broken: "The connection broke. It goes on by itself.",
    failed: entry.fault,
    unfinished: `${Math.floor((100 * entry.offset) / Math.max(1, entry.size))} % of ${bytes(entry.size)} has arrived. Add the same file again to go on.`,
  }[entry.state];
}

function show(entry) {
  if (!entry.node) return;
  entry.bar.value = entry.offset / Math.max(1, entry.size);
  if (entry.said.textContent !== saidOf(entry)) entry.said.textContent = saidOf(entry);
}

function draw() {
  place.hidden = entries.length === 0;
  for (const entry of entries) {
    entry.bar ??= el("progress", { max: 1, value: 0, "aria-label": `How much of ${entry.name} has arrived` });
    entry.said ??= el("span", {});
    entry.said.className = entry.state === "failed" ? "said fault" : "said hint";
    entry.button ??= el("button", { class: "plain small", type: "button", onclick: action(() => drop(entry)) });
    entry.button.textContent = isOpen(entry) ? "Stop" : "Remove";
    entry.button.ariaLabel = `${entry.button.textContent} ${entry.name}`;
    entry.node ??= el("li", { class: "upload" }, el("span", { title: entry.name }, entry.name), entry.bar, entry.said, entry.button);
    entry.bar.hidden = entry.state === "failed";
    show(entry);
  }
  const nodes = entries.map((entry) => entry.node);
  const list = place.querySelector("ul") ?? place.appendChild(el("ul"));
  if (nodes.length !== list.children.length || nodes.some((node, index) => node !== list.children[index])) list.replaceChildren(...nodes);
  if (entries.some(isOpen)) window.addEventListener("beforeunload", stay);
  else window.removeEventListener("beforeunload", stay);
}

/** Let the browser ask before somebody leaves while files are being sent. */
const stay = (event) => event.preventDefault();
