// Building pages from data. Text is always set as text, so nothing that somebody typed can become markup.

/** The path below which the application lies; a proxy may have put it anywhere. */
export const root = new URL("..", import.meta.url).pathname.slice(0, -1);

/**
 * Make an element: properties starting with "on" are listeners, others attributes; false and null are left out.
 * Addresses are those of the application, without `root`.
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, set] of Object.entries(value)) node.style.setProperty(key, set);
    else if (name === "href" || name === "src") node.setAttribute(name, root + value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Replace contents by newer ones. The element that has the focus keeps it, and unfolded details stay unfolded. */
export function replaceKeepingPlace(parent, contents) {
  const keyOf = (node) => node.dataset.key ?? `${node.tagName} ${node.id || node.ariaLabel || node.textContent}`;
  const focused = parent !== document.activeElement && parent.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  const unfolded = new Set([...parent.querySelectorAll("details[open] > summary")].map(keyOf));
  parent.replaceChildren(...contents);
  for (const summary of parent.querySelectorAll("summary")) if (unfolded.has(keyOf(summary))) summary.parentElement.open = true;
  if (focused === null) return;
  const again = [...parent.querySelectorAll("a, button, input, select, textarea, summary")].find((node) => keyOf(node) === focused && !node.disabled);
  (again ?? parent).focus({ preventScroll: true });
}

/** Show a message for a few seconds, longer with a button that undoes what it tells of. */
export function notify(message, { error = false, undo = null } = {}) {
  const notice = document.getElementById("notice");
  const button = undo && el("button", { type: "button", class: "undo", onclick: action(async () => {
    await undo();
    window.dispatchEvent(new PopStateEvent("popstate")); // whichever page is open shows its contents anew
    notify("Undone.");
  }) }, "Undo");
  notice.replaceChildren(el("span", {}, message), ...(button ? [button] : []));
  notice.classList.toggle("error", error);
  notice.hidden = false;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => (notice.hidden = true), undo ? 20000 : error ? 9000 : 5000);
}

/** Run an action: errors are shown, and its button has no effect until the action ends. */
export function action(work) {
  return async (event) => {
    event.preventDefault();
    const button = event.submitter ?? event.currentTarget;
    if (button.ariaDisabled) return;
    button.ariaDisabled = "true"; // unlike `disabled` it leaves the focus where it is
    try {
      await work(event);
    } catch (error) {
      notify(error.message, { error: true });
    } finally {
      button.ariaDisabled = null;
    }
  };
}

/** Open a modal dialog with these contents; it is removed when it closes. */
export function openDialog(title, ...children) {
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" });
  const close = el("button", { class: "plain close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const heading = el("h2", { id: "dialog-title", tabindex: -1 }, title);
  dialog.append(el("div", { class: "sheet" }, el("div", { class: "sheet-top" }, heading, close), children));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  if (!dialog.querySelector("[autofocus]")) heading.focus();
  return dialog;
}

/** Ask before something large; resolves to whether the answer was yes. */
export function confirmed(title, contents, button, no = "Keep") {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = openDialog(
      title,
      contents,
      el("div", { class: "actions" },
        el("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, no),
        el("button", { type: "button", class: "danger", onclick: () => { answer = true; dialog.close(); } }, button)),
    );
    dialog.addEventListener("close", () => resolve(answer));
  });
}
