// What lives on the page between two answers of the server: clocks, the state of the live connection, copy buttons,
// and what a panel keeps when its new content is merged in (charts, and rounds that the reader opened or closed).
"use strict";
(function () {
  // --- clocks: counted from the server's own numbers, so that a reader's wrong clock does no harm

  const born = new WeakMap(); // element -> {text, at}: when its number arrived

  function secondsSince(element, attribute) {
    const text = element.getAttribute(attribute);
    let mark = born.get(element);
    if (!mark || mark.text !== text) {
      mark = { text, at: performance.now() };
      born.set(element, mark);
    }
    return (performance.now() - mark.at) / 1000;
  }

  function duration(seconds) {
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    const two = (n) => String(n).padStart(2, "0");
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function tick() {
    document.querySelectorAll("[data-seconds-left]").forEach((element) => {
      const left = Number(element.getAttribute("data-seconds-left")) - secondsSince(element, "data-seconds-left");
      setText(element, left > 0 ? duration(left) : "over, waiting for the chain");
      element.classList.toggle("is-short", left <= 15);
    });
    document.querySelectorAll("[data-elapsed]").forEach((element) => {
      setText(element, duration(Number(element.getAttribute("data-elapsed")) + secondsSince(element, "data-elapsed")));
    });
  }

  function localTimes() {
    document.querySelectorAll("time[datetime]").forEach((element) => {
      const when = new Date(element.getAttribute("datetime"));
      setText(element, when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }));
      element.title = when.toLocaleString();
    });
  }

  // --- the live connection

  function showLive(state, text) {
    const element = document.querySelector("[data-live]");
    if (!element || element.getAttribute("data-live") === state) return;
    element.setAttribute("data-live", state);
    element.querySelector("[data-live-text]").textContent = text;
  }

  document.addEventListener("htmx:sseOpen", () => showLive("live", "Live"));
  document.addEventListener("htmx:sseError", () => showLive("lost", "Connection lost, trying again"));

  // --- copy buttons

  let noteTimer = 0;
  function note(text) {
    const element = document.querySelector("[data-toast]");
    element.textContent = text;
    element.classList.add("is-shown");
    window.clearTimeout(noteTimer);
    noteTimer = window.setTimeout(() => element.classList.remove("is-shown"), 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    const text = button.getAttribute("data-copy");
    if (!navigator.clipboard) {
      window.prompt("Copy", text); // an http address other than localhost has no clipboard
      return;
    }
    navigator.clipboard.writeText(text).then(
      () => note("Copied"),
      () => window.prompt("Copy", text),
    );
  });

  // --- merging new content into a panel

  const touched = new Set(); // ids of rounds that the reader opened or closed: theirs to decide from then on

  document.addEventListener("click", (event) => {
    const summary = event.target.closest("summary");
    if (summary && summary.parentElement.id) touched.add(summary.parentElement.id);
  });

  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !(name === "open" && touched.has(element.id));
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (before, after) => {
    if (!(before instanceof Element) || !(after instanceof Element)) return true;
    if (!before.hasAttribute("data-chart") || before.id !== after.id) return true;
    before.setAttribute("data-options", after.getAttribute("data-options"));
    return false; // the canvas stays
  };

  function refresh() {
    localTimes();
    tick();
  }

  document.addEventListener("htmx:afterSettle", refresh);
  window.setInterval(tick, 1000);
  refresh();
})();
