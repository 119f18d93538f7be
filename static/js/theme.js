// Sets the theme before the first paint: reading pages are dark unless the user chose otherwise; others follow the system.
(() => {
  const root = document.documentElement;
  const key = `checxray.theme.${root.dataset.page}`;
  root.classList.add("js");
  const chosen = read() ?? (root.dataset.page === "reading" ? "dark" : null);
  if (chosen) root.dataset.theme = chosen;

  function read() {
    try { return localStorage.getItem(key); } catch { return null; }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector('[data-action="theme"]');
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem(key, root.dataset.theme); } catch { /* private mode: it lasts for this page */ }
    });
  });
})();
