// Light and dark: as the system says until the reader chooses.
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;

// A file that is opened from disk or in a sandbox may have no storage.
const memory = {
  get: () => { try { return localStorage.getItem("regaudit-theme"); } catch { return null; } },
  set: (theme) => { try { localStorage.setItem("regaudit-theme", theme); } catch { /* it lasts until the page is closed */ } },
};
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

if (["light", "dark"].includes(memory.get())) root.dataset.theme = memory.get();

function startTheme() {
  const button = document.querySelector(".theme");
  const show = () => {
    button.textContent = isDark() ? "☀ Light" : "☾ Dark";
    redrawAll();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    memory.set(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  show();
}
