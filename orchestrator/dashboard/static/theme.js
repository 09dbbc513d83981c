// Chooses light or dark before the first paint: the reader's own choice, else the system's.
"use strict";
(function () {
  const KEY = "collegium-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = window.localStorage.getItem(KEY);
  } catch (error) {
    chosen = null; // storage is switched off: the choice lasts as long as the page
  }

  function apply() {
    const theme = chosen === "dark" || chosen === "light" ? chosen : system.matches ? "dark" : "light";
    document.documentElement.setAttribute("data-bs-theme", theme);
    document.dispatchEvent(new CustomEvent("theme-changed"));
  }

  system.addEventListener("change", apply);
  document.addEventListener("click", function (event) {
    if (!event.target.closest("[data-theme-toggle]")) return;
    chosen = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    try {
      window.localStorage.setItem(KEY, chosen);
    } catch (error) {
      // as above
    }
    apply();
  });
  apply();
})();
