// The same examples in JavaScript. It is built as samples/hello-js is, with this file and wit/world.wit in place of that one's.
import { current } from "annex:host/context@0.1.0";
import * as log from "annex:host/log@0.1.0";
import * as metrics from "annex:host/metrics@0.1.0";
import * as secrets from "annex:host/secrets@0.1.0";
import * as kv from "annex:host/storage-kv@0.1.0";

// A value is bytes, in a Uint8Array.
const bytes = (text) => new TextEncoder().encode(text);
const text = (bytes) => new TextDecoder().decode(bytes);

/** What goes wrong, as the caller is told. */
class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// What an import refuses, it throws, with the error's name as `payload`.
const STORAGE = {
  "bad-key": new Problem(400, "a key has 1 byte to 1 KiB"),
  "value-too-large": new Problem(413, "a value has 64 KiB at the most"),
  "quota-exceeded": new Problem(507, "there is no more room; delete something first"),
  "call-budget-spent": new Problem(500, "this is more than one call may read and write"),
  unavailable: new Problem(503, "try again later"),
};

function theme() {
  const theme = kv.get("theme");
  // What is not there is undefined.
  return theme === undefined ? "light" : text(theme);
}

async function setTheme(request) {
  kv.set("theme", new Uint8Array(await request.arrayBuffer()));
  return theme();
}

function visit() {
  // Whoever lost a race begins again with what the other one has written.
  for (let tries = 0; tries < 10; tries++) {
    const old = kv.get("visits");
    const next = String(Number(old === undefined ? 0 : text(old)) + 1);
    if (kv.compareAndSet("visits", old, bytes(next))) return next;
  }
  throw new Problem(409, "too many at one time; try again");
}

function keys() {
  const all = [];
  for (;;) {
    const page = kv.listKeys("", all.at(-1), 100);
    if (page.length === 0) return all.join("\n");
    all.push(...page);
  }
}

function pay() {
  try {
    const token = secrets.get("payments", "token");
    return `paid with a token of ${token.length} bytes`;
  } catch (error) {
    if (error.payload === "unavailable") throw new Problem(503, "try again later");
    throw new Problem(424, "not set up: the Install needs a Secret `payments` with a `token`");
  }
}

async function report(request) {
  const { byteLength } = await request.arrayBuffer();
  log.write("warn", `a report of ${byteLength} bytes`);
  // A counter is a u64, and that is a BigInt.
  metrics.count("reports", 1n);
  metrics.observe("report_bytes", byteLength);
  console.log("a report came in");
  return "thank you";
}

function greeting() {
  const { tenant, config } = current();
  const { colour = "blue" } = JSON.parse(config);
  return `Hello, ${tenant}, in ${colour}!`;
}

async function rates() {
  let response;
  try {
    response = await fetch("https://rates.example.com/v1/rates");
  } catch {
    // Why is not said here. One of the two lists does not have the host, or it was not reached.
    throw new Problem(502, "the other side was not reached");
  }
  if (response.status !== 200) throw new Problem(502, `the other side answered ${response.status}`);
  return response.text();
}

function setup() {
  // Only where there is none yet. An earlier Install may have left one, and this call may be the second.
  kv.compareAndSet("theme", undefined, bytes("light"));
  return "there is a theme";
}

async function migrate(request) {
  const { from, to } = await request.json();
  // It is not tried again, and the tenant reads why.
  if (from.startsWith("0.1.")) throw new Problem(422, "what 0.1 has stored cannot be read: install 0.2 first");
  const count = kv.get("count");
  if (to.startsWith("0.")) {
    // It is rolled back. The former version goes on with `count`; what was made of it must not be found by the next upgrade.
    kv.delete("visits");
  } else if (count !== undefined) {
    // `count` stays: the former version answers until this one does. And what is there is not written over: this may be the second call.
    kv.compareAndSet("visits", undefined, count);
  }
  return "the visits are where they belong";
}

const ENDPOINTS = {
  "GET /theme": theme,
  "PUT /theme": setTheme,
  "POST /visits": visit,
  "GET /keys": keys,
  "POST /payments": pay,
  "POST /report": report,
  "GET /greeting": greeting,
  "GET /rates": rates,
  "POST /.annex/lifecycle/setup": setup,
  "POST /.annex/lifecycle/migrate": migrate,
};

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const endpoint = ENDPOINTS[`${request.method} ${new URL(request.url).pathname}`];
  try {
    if (!endpoint) throw new Problem(404, "there is nothing here");
    return new Response(await endpoint(request));
  } catch (error) {
    const problem = error instanceof Problem ? error : STORAGE[error.payload];
    // What nobody thought of: its author finds it in the log.
    if (!problem) console.error(error);
    const { status, message } = problem ?? { status: 500, message: "this is a bug" };
    return new Response(message, { status });
  }
}
