// node componentize.js WIT WORLD MODULE COMPONENT: builds a component from a module. Run it in a folder with all
// imports of the module; scripts/languages-build puts it next to the packages that it needs.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [witPath, worldName, sourcePath, file] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName,
  // The host refuses components that import these.
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(file, component);
