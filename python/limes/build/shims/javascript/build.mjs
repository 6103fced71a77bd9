// Makes a component: node build.mjs SETTINGS, which is JSON from limes.build.javascript.
import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const { componentize } = await import(pathToFileURL(settings.package).href);

try {
  const { component } = await componentize({
    sourcePath: settings.entry,
    witPath: settings.wit,
    worldName: settings.world,
    enableFeatures: settings.http ? ["http", "fetch-event"] : ["http"],
    disableFeatures: settings.http ? [] : ["fetch-event"],
  });
  await writeFile(settings.output, component);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
