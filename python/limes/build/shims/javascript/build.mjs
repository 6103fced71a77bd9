// Makes a component: node build.mjs SETTINGS, which is JSON from limes.build.javascript.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const { componentize } = await import(pathToFileURL(settings.package).href);

// The engine reads modules below one folder, so the function and its entry are copied into one.
const sources = join(settings.work, "sources");
await rm(sources, { recursive: true, force: true });
await mkdir(sources, { recursive: true });
await cp(dirname(settings.source), join(sources, "function"), {
  recursive: true,
  filter: (path) => {
    const [top] = relative(dirname(settings.source), path).split("/");
    return !top.startsWith(".") && top !== "build" && top !== "tests";
  },
});
const entry = join(sources, "entry.js");
await writeFile(entry, (await readFile(settings.entry, "utf8")).replace("FUNCTION", `./function/${basename(settings.source)}`));

const { component } = await componentize({
  sourcePath: entry,
  witPath: settings.wit,
  worldName: settings.world,
  enableFeatures: settings.http ? ["http", "fetch-event"] : ["http"],
  disableFeatures: settings.http ? [] : ["fetch-event"],
});
await writeFile(settings.output, component);
