// Makes main.wasm of guest.js: `npm install`, then `npm run build`.
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { componentize } from "@bytecodealliance/componentize-js";

// jco brings the interfaces of WASI, as a later patch release than the one that componentize-js speaks; they differ in the number alone.
const [THERE, WANTED] = ["0.2.12", "0.2.10"];
const wasi = join(dirname(createRequire(import.meta.url).resolve("@bytecodealliance/jco/package.json")), "lib/wit/builtin", THERE);

await rm("build", { recursive: true, force: true });
await mkdir("build/wit", { recursive: true });
await cp("wit", "build/wit", { recursive: true });
for (const name of await readdir(wasi)) {
  const text = await readFile(join(wasi, name, "package.wit"), "utf8");
  await mkdir(join("build/wit/deps", name), { recursive: true });
  await writeFile(join("build/wit/deps", name, "package.wit"), text.replaceAll(THERE, WANTED));
}

const { component } = await componentize({
  sourcePath: "guest.js",
  witPath: "build/wit",
  worldName: "guest",
  // Each of these would be an import. `http` is requests to the outside, which take the capability http.fetch.
  disableFeatures: ["stdio", "random", "clocks", "http"],
});
await writeFile("main.wasm", component);
