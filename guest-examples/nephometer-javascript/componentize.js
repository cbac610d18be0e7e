// node componentize.js WIT WORLD MODULE COMPONENT: makes a component of a module. It is run in a folder that holds all
// that the module imports; scripts/languages-build puts it beside the packages that it needs.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [witPath, worldName, sourcePath, file] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName,
  // A transformer has none of these: what stays would be an import that the host refuses.
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(file, component);
