"use strict";

// The page calls its own extension at its own origin: the platform forwards /api/ext/NAME/ to the guest.
const base = `/api/ext/${document.body.dataset.extension}`;
const output = document.getElementById("answer");

document.getElementById("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = document.getElementById("who").value.trim();
  if (!who) return;
  output.textContent = "…";
  try {
    const response = await fetch(`${base}/hello/${encodeURIComponent(who)}`);
    const answer = await response.json().catch(() => ({}));
    // textContent, not innerHTML: what came from elsewhere stays text.
    output.textContent = response.ok ? answer.greeting : `The extension answered ${response.status}.`;
  } catch {
    output.textContent = "The extension cannot be reached.";
  }
});
