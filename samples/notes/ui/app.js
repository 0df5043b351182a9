"use strict";

// The page calls its own extension at its own origin: the platform forwards /api/ext/NAME/ to the guest.
const base = `/api/ext/${document.body.dataset.extension}`;
const part = (id) => document.getElementById(id);

/** Why something was not done: the answer of the guest or of the platform, which tell it alike. */
class Refusal extends Error {
  constructor(status, answer) {
    const signIn = status === 401 ? "You are not signed in, or no longer." : undefined;
    super(signIn ?? answer.message ?? `The extension answered ${status}.`);
    this.answer = answer;
  }
}

/** Asks the extension, with the token of the user if the page that embeds this one handed one over. */
async function ask(method, path, body) {
  const options = { method };
  if (body) Object.assign(options, { headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const response = await annex.fetch(`${base}${path}`, options).catch(() => {
    throw new Error("The extension cannot be reached.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

/** Does something, and says that it was done, or why not. What was typed stays where it is until it is saved. */
async function attempt(action, done = "") {
  part("done").textContent = part("failure").textContent = "";
  part("again").hidden = true;
  try {
    await action();
    part("done").textContent = done;
    return true;
  } catch (error) {
    part("failure").textContent = error.message;
    return false;
  }
}

/** While it is under way, `control` does not begin it again. It is not `disabled`: it would lose the focus. */
async function once(control, action) {
  if (control.ariaDisabled === "true") return;
  control.ariaDisabled = "true";
  try {
    await action();
  } finally {
    control.ariaDisabled = null;
  }
}

let next;

/** Shows the first notes, or those after the last that is shown. */
async function load(after) {
  const list = part("notes");
  list.setAttribute("aria-busy", "true");
  const loaded = await attempt(async () => {
    const answer = await ask("GET", after ? `/notes?after=${after}` : "/notes");
    part("tenant").textContent = answer.tenant;
    if (!after) list.replaceChildren();
    list.append(...answer.notes.map(row));
    next = answer.next;
  });
  list.setAttribute("aria-busy", "false");
  part("again").hidden = loaded;
  part("more").hidden = !loaded || !next;
  if (loaded) count();
  return loaded;
}

function count() {
  part("empty").hidden = part("notes").childElementCount > 0 || Boolean(next);
}

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function row(note) {
  const item = part("note").content.firstElementChild.cloneNode(true);
  const find = (selector) => item.querySelector(selector);
  // textContent, not innerHTML: what somebody wrote stays text.
  find(".text").textContent = note.text;
  find("time").dateTime = new Date(note.written).toISOString();
  find("time").textContent = when.format(note.written);
  const short = note.text.length > 40 ? `${note.text.slice(0, 40)}…` : note.text;
  find(".edit").setAttribute("aria-label", `Edit: ${short}`);
  find(".edit").addEventListener("click", () => edit(item, note));
  remover(item, find(".delete"), note, short);
  return item;
}

/** A second press deletes. A dialog would not be shown: the frame of the page around this one opens none. */
function remover(item, button, note, short) {
  const name = (text) => {
    button.textContent = text;
    button.setAttribute("aria-label", `${text}: ${short}`);
  };
  const calm = () => {
    button.classList.remove("sure");
    name("Delete");
  };
  calm();
  button.addEventListener("blur", calm);
  button.addEventListener("keydown", (event) => event.key === "Escape" && calm());
  button.addEventListener("click", () => {
    if (!button.classList.contains("sure")) {
      button.classList.add("sure");
      return name("Really delete");
    }
    once(button, async () => {
      if (!(await attempt(() => ask("DELETE", `/notes/${note.id}`), "Deleted."))) return;
      // Whoever works with the keyboard goes on at the note that is in its place.
      const neighbour = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      count();
      (neighbour?.querySelector("button") ?? part("text")).focus();
    });
  });
}

function edit(item, note) {
  const form = part("editor").content.firstElementChild.cloneNode(true);
  const [text, theirs, save] = ["textarea", ".theirs", ".main"].map((selector) => form.querySelector(selector));
  const close = (shown) => {
    const now = row(shown);
    item.replaceWith(now);
    now.querySelector(".edit").focus();
  };
  text.value = note.text;
  form.querySelector(".cancel").addEventListener("click", () => close(note));
  form.addEventListener("keydown", (event) => event.key === "Escape" && close(note));
  saveByKeyboard(text, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(save, async () => {
      let changed;
      const change = { text: text.value, version: note.version };
      const put = async () => {
        changed = await ask("PUT", `/notes/${note.id}`, change).catch((error) => {
          if (error.answer?.code !== "Changed") throw error;
          // Somebody was faster. What they wrote is shown, and saving once more is a decision.
          note = error.answer.note;
          theirs.textContent = `Somebody else has changed this note meanwhile, to: “${note.text}”. Save writes yours over it, Cancel keeps theirs.`;
        });
      };
      if ((await attempt(put)) && changed) {
        close(changed);
        part("done").textContent = "Saved.";
      }
    });
  });
  item.replaceChildren(form);
  text.focus();
}

function saveByKeyboard(text, form) {
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

part("new").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = part("text");
  once(part("new").querySelector("button"), async () => {
    const add = async () => part("notes").prepend(row(await ask("POST", "/notes", { text: text.value })));
    if (!(await attempt(add, "Saved."))) return;
    text.value = "";
    text.focus();
    count();
  });
});
saveByKeyboard(part("text"), part("new"));
part("again").addEventListener("click", () => load());
part("more").addEventListener("click", () =>
  once(part("more"), async () => {
    const last = part("notes").lastElementChild;
    if (await load(next)) last?.nextElementSibling?.querySelector("button").focus();
  }),
);

load();
