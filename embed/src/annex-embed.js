/*
 * Shows an extension in a page of the platform: a sandboxed iframe that gets the user's token, and nothing else.
 *
 *   import { embed } from "./annex-embed.js";
 *   const shown = embed(document.getElementById("place"), {
 *     url: "https://acme--notes.apps.example.com/",   // the Install's status.url
 *     token: () => fetch("/session/annex-token").then((answer) => answer.text()),
 *   });
 *   shown.close();
 *
 * The extension's page loads `annex-extension.js`, the other side of this.
 *
 * What is trusted: messages of that very frame while it shows the extension's own origin, and nobody else's. The token goes to
 * that origin by name, so that a frame that went elsewhere meanwhile does not get it. The extension's page can read the token:
 * it should be one that is good for this workspace and for minutes.
 */

/** The version of the messages. A message of another one is left alone. */
const ANNEX = 1;
/** The tallest that a frame makes itself, in CSS pixels. */
const MAX_HEIGHT = 20_000;
/** The least time between two tokens, in milliseconds: a page that asks without an end waits, and the platform's session does not. */
const PAUSE = 500;

/**
 * Puts an extension into `place`.
 *
 * @param {Element} place Where the frame is appended.
 * @param {object} options
 * @param {string} options.url Where the extension's page is: `status.url` of the Install. http or https, on another origin.
 * @param {() => string | Promise<string>} options.token Gives a token of the user. Asked when the extension needs one.
 * @param {string} [options.title] What a screen reader calls the frame.
 * @returns {{frame: HTMLIFrameElement, close: () => void}}
 * @throws {TypeError} The URL is none, or of this page's own origin, where a sandbox would hold nothing.
 */
export function embed(place, { url, token, title = "Extension" }) {
  const target = new URL(url);
  if (!["http:", "https:"].includes(target.protocol)) throw new TypeError("an extension's url is http or https");
  if (target.origin === location.origin) throw new TypeError("an extension has an origin of its own, not this page's");
  if (target.username || target.password) throw new TypeError("an extension's url holds no credentials");

  const frame = document.createElement("iframe");
  // Its own origin it may keep, because that is not ours. It may not lead this page away, open windows or ask for the screen.
  frame.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms");
  frame.setAttribute("allow", "");
  frame.setAttribute("referrerpolicy", "no-referrer");
  frame.title = title;
  frame.style.cssText = "border:0;display:block;width:100%";
  frame.src = target.href;

  let given = -Infinity;
  let giving = false;
  async function give() {
    if (giving) return;
    giving = true;
    await new Promise((resolve) => setTimeout(resolve, given + PAUSE - performance.now()));
    let answer;
    try {
      answer = { annex: ANNEX, type: "token", token: String(await token()) };
    } catch {
      // What went wrong in the platform's session is not the extension's to know.
      answer = { annex: ANNEX, type: "no-token" };
    }
    frame.contentWindow?.postMessage(answer, target.origin);
    given = performance.now();
    giving = false;
  }

  function listen(event) {
    if (event.source !== frame.contentWindow || event.origin !== target.origin) return;
    const message = event.data;
    if (message === null || typeof message !== "object" || message.annex !== ANNEX) return;
    if (message.type === "token-request") {
      give();
    } else if (message.type === "height" && Number.isFinite(message.height)) {
      frame.style.height = `${Math.min(Math.max(message.height, 0), MAX_HEIGHT)}px`;
    }
  }
  window.addEventListener("message", listen);
  place.append(frame);
  return {
    frame,
    close() {
      window.removeEventListener("message", listen);
      frame.remove();
    },
  };
}
