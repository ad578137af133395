// Keeps the parts of a page that carry data-live up to date: fetches them anew from the address that it names, every
// data-live-every milliseconds, but not while nobody looks. Without this script the page shows what was when it was opened.
"use strict";

const PATIENCE_MS = 5000;

for (const part of document.querySelectorAll("[data-live]")) {
  keepUpToDate(part);
}

function keepUpToDate(part) {
  const every = Number(part.dataset.liveEvery);
  let timer = null;

  async function refresh() {
    clearTimeout(timer);
    timer = null;
    showStale(!(await fetchInto(part)));
    // One after the other: a slow server gets no second request before it has answered the first.
    if (!document.hidden) timer = setTimeout(refresh, every);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      timer = null;
    } else if (timer === null) {
      refresh();
    }
  });
  if (!document.hidden) timer = setTimeout(refresh, every);
}

/** Whether the part is now as the server has it. */
async function fetchInto(part) {
  try {
    const answer = await fetch(part.dataset.live, { signal: AbortSignal.timeout(PATIENCE_MS) });
    // Whoever was signed out is led to the log-in page; its place is not within this one.
    if (!answer.ok || answer.redirected) return false;
    replace(part, await answer.text());
    return true;
  } catch {
    return false;
  }
}

/** Puts the new content in place, and the keyboard's focus back where it was. */
function replace(part, html) {
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function showStale(isStale) {
  for (const note of document.querySelectorAll("[data-live-stale]")) note.hidden = !isStale;
}
