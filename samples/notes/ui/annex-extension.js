"use strict";

/*
 * The extension's side of `annex-embed.js`: copy it into `ui/`. It gives the page `annex.fetch`, which is `fetch` with the user's
 * token where the page is embedded, and plain `fetch` where it is opened by itself.
 *
 * Only the page around this one is listened to. Which pages those can be, the platform says in the Content-Security-Policy
 * (`frame-ancestors`).
 */
const annex = (() => {
  const ANNEX = 1;
  /** How long the page around may take to give a token, in milliseconds. */
  const PATIENCE = 5_000;
  const embedded = window.parent !== window;
  let token = null;
  let waiting = null;

  /** Asks the page around for a token. Null: there is none. */
  function ask() {
    waiting ??= new Promise((resolve) => {
      const done = (given) => {
        clearTimeout(timer);
        window.removeEventListener("message", listen);
        waiting = null;
        resolve(given);
      };
      const listen = (event) => {
        if (event.source !== window.parent || event.data?.annex !== ANNEX) return;
        if (event.data.type === "token") done(String(event.data.token));
        if (event.data.type === "no-token") done(null);
      };
      const timer = setTimeout(() => done(null), PATIENCE);
      window.addEventListener("message", listen);
      // It says nothing that anyone could not know, so that any page around may hear it.
      window.parent.postMessage({ annex: ANNEX, type: "token-request" }, "*");
    });
    return waiting;
  }

  function send(url, options) {
    const headers = new Headers(options.headers);
    if (token !== null) headers.set("authorization", `Bearer ${token}`);
    return fetch(url, { ...options, headers });
  }

  if (embedded) {
    const tell = () =>
      window.parent.postMessage({ annex: ANNEX, type: "height", height: document.documentElement.scrollHeight }, "*");
    window.addEventListener("load", () => new ResizeObserver(tell).observe(document.documentElement));
  }

  return {
    /** `fetch`, with the user's token. One that has ended is asked for anew, once. */
    async fetch(url, options = {}) {
      // The token is for this extension's own calls. Elsewhere it would be given away.
      if (!embedded || new URL(url, location.href).origin !== location.origin) return fetch(url, options);
      token ??= await ask();
      const response = await send(url, options);
      if (response.status !== 401) return response;
      token = await ask();
      return token === null ? response : send(url, options);
    },
  };
})();
