// What several pages need.
export const byId = (id) => document.getElementById(id);

export function announce(text) {
  byId("announce").textContent = text;
}

export function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey
    || event.target.closest("input:not([type=range]), textarea, select, dialog[open]") !== null;
}

/** Ask every few seconds while the page is visible; slower after each failure. */
export function poll(seconds, ask) {
  let failures = 0;
  const turn = async () => {
    if (document.visibilityState === "visible") {
      try {
        if (await ask() === false) return;
        failures = 0;
      } catch {
        failures += 1;
      }
    }
    setTimeout(turn, 1000 * seconds * Math.min(2 ** failures, 16));
  };
  setTimeout(turn, 1000 * seconds);
}

/** A part of this very page, as the server sees it now. Signed out: the page reloads and asks to sign in. */
export async function fragment(url) {
  const response = await fetch(url, { headers: { "X-Fragment": "1" }, redirect: "manual" });
  if (response.type === "opaqueredirect") location.reload();
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.text();
}
