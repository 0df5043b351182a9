"use strict";

// The page calls its own extension at its own origin: the platform forwards /api/ext/NAME/ to the guest.
const base = `/api/ext/${document.body.dataset.extension}`;
const [tenant, list, status, form, text] = ["tenant", "notes", "status", "new", "text"].map((id) => document.getElementById(id));

/** Asks the extension, with the token of the user if the page that embeds this one handed one over. */
async function ask(method, path, body) {
  const response = await annex.fetch(`${base}${path}`, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? answer.error ?? `The extension answered ${response.status}.`);
  return answer;
}

/** Does something, and shows the notes as they are then, or what went wrong. */
async function then(action) {
  status.textContent = "";
  try {
    await action();
    const answer = await ask("GET", "/notes");
    tenant.textContent = answer.tenant;
    list.replaceChildren(...answer.notes.map(item));
  } catch (error) {
    status.textContent = error.message;
  }
}

function item({ id, text }) {
  const row = document.createElement("li");
  const words = document.createElement("span");
  // textContent, not innerHTML: what somebody wrote stays text.
  words.textContent = text;
  const remove = document.createElement("button");
  remove.textContent = "Delete";
  remove.setAttribute("aria-label", `Delete: ${text}`);
  remove.addEventListener("click", () => then(() => ask("DELETE", `/notes/${id}`)));
  row.append(words, remove);
  return row;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const written = text.value.trim();
  if (written) then(async () => {
    await ask("POST", "/notes", { text: written });
    text.value = "";
  });
});

then(() => {});
