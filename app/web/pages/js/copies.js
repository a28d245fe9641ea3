// Copies of files that are being sent, in the storage of the browser (IndexedDB), from which uploads go on after a reload.
// A copy goes when its upload ends. Where the browser gives no room, or no locks between its windows, there is none.

import { root } from "./dom.js";

const LARGEST = 2 ** 30; // bytes of a file that is copied

function inStore(mode, ask) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(`gaitprint${root}`, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("uploads");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction("uploads", mode);
      const request = ask(transaction.objectStore("uploads"));
      transaction.oncomplete = () => { opening.result.close(); resolve(request.result); };
      transaction.onabort = () => { opening.result.close(); reject(transaction.error); };
    };
  });
}

/** Keep a copy of the file of an upload, if that is possible. */
export async function keepCopy(uploadId, file) {
  if (!navigator.locks || file.size > LARGEST) return;
  await inStore("readwrite", (store) => store.put(file, uploadId)).catch(() => {});
}

export async function dropCopy(uploadId) {
  await inStore("readwrite", (store) => store.delete(uploadId)).catch(() => {});
}

/** The copies of these uploads, by their ids; copies of all others are dropped. */
export async function copiesOf(uploadIds) {
  const found = new Map();
  try {
    for (const id of await inStore("readonly", (store) => store.getAllKeys())) {
      if (uploadIds.has(id)) found.set(id, await inStore("readonly", (store) => store.get(id)));
      else await dropCopy(id);
    }
  } catch { /* the browser has no such storage, as in a private window */ }
  return found;
}

/** Let no other window send this upload; returns a function that ends that, or null where another window is at it. */
export function alone(uploadId) {
  if (!navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve) => {
    navigator.locks.request(`gaitprint${root} ${uploadId}`, { ifAvailable: true }, (lock) => (lock ? new Promise((release) => resolve(release)) : resolve(null)));
  });
}
