// Functions that several pages use.
export const byId = (id) => document.getElementById(id);

export function announce(text) {
  byId("announce").textContent = text;
}

export function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey
    || event.target.closest("input:not([type=range]), textarea, select, dialog[open]") !== null;
}

/** Call a function every few seconds while the page is visible; less often after each failure. */
export function poll(seconds, load) {
  let failures = 0;
  const turn = async () => {
    if (document.visibilityState === "visible") {
      try {
        if (await load() === false) return;
        failures = 0;
      } catch {
        failures += 1;
      }
    }
    setTimeout(turn, 1000 * seconds * Math.min(2 ** failures, 16));
  };
  setTimeout(turn, 1000 * seconds);
}

/** Load a part of this page from the server. Where the user is signed out, the page reloads, to sign in again. */
export async function fragment(url) {
  const response = await fetch(url, { headers: { "X-Fragment": "1" }, redirect: "manual" });
  if (response.type === "opaqueredirect") location.reload();
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.text();
}
