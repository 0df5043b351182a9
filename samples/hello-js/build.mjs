// Makes main.wasm of guest.js and wit/: `npm ci`, then `npm run build`.
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

// jco brings the interfaces of WASI, as a later patch release than the one that componentize-js speaks; they differ in the number alone.
const [THERE, WANTED] = ["0.2.12", "0.2.10"];
const wasi = new URL(`../lib/wit/builtin/${THERE}/`, import.meta.resolve("@bytecodealliance/jco"));

await rm("build", { recursive: true, force: true });
await mkdir("build", { recursive: true });
await cp("wit", "build/wit", { recursive: true });
for (const name of await readdir(wasi)) {
  const text = await readFile(new URL(`${name}/package.wit`, wasi), "utf8");
  await mkdir(`build/wit/deps/${name}`, { recursive: true });
  await writeFile(`build/wit/deps/${name}/package.wit`, text.replaceAll(THERE, WANTED));
}

// `fetch` is an import as well, which takes the capability http.fetch. It is there for a world that says that it imports it.
const world = (await readFile("wit/world.wit", "utf8")).replaceAll(/\/\/.*/g, "");
const fetches = world.includes("wasi:http/outgoing-handler");
const { component } = await componentize({
  sourcePath: "guest.js",
  witPath: "build/wit",
  worldName: "guest",
  disableFeatures: fetches ? [] : ["http"],
});
await writeFile("main.wasm", component);
