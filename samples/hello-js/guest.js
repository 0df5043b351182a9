// What the extension answers. A new instance is made for each request.
import { current } from "annex:host/context@0.1.0";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  if (request.method !== "GET" || pathname !== "/hello") return json(404, { error: "there is nothing here" });
  // The tenant is the host's to say. What a caller says of themselves is not asked.
  const { tenant } = current();
  // What is printed is in the platform's log.
  console.log(`somebody of ${tenant} was greeted`);
  return json(200, { greeting: `Hello, ${tenant}!` });
}

function json(status, value) {
  return new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json" } });
}
