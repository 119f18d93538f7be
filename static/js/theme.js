// Sets the theme before the first paint: reading pages are dark unless the user chose otherwise; others follow the system.
(() => {
  const root = document.documentElement;
  const key = `checxray.theme.${root.dataset.page}`;
  root.classList.add("js");
  const chosen = read() ?? (root.dataset.page === "reading" ? "dark" : null);
  if (chosen) root.dataset.theme = chosen;

  function read() {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  }

  /** @param {string} theme */
  function keep(theme) {
    try {
      localStorage.setItem(key, theme);
    } catch {
      // Private mode: it lasts for this page.
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector('[data-action="theme"]');
    if (!(button instanceof HTMLElement)) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      const { theme } = root.dataset;
      const isDark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      keep(root.dataset.theme);
    });
  });
})();
