// Compiles channel.tolk and writes build/channel.json, the code that the Rust crates embed.
// With --check it writes nothing and fails when the committed code is not what the sources compile to.
import { readFileSync, writeFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTolkCompiler, getTolkCompilerVersion } from '@ton/tolk-js';

const root = dirname(fileURLToPath(import.meta.url));
const artifact = join(root, 'build', 'channel.json');

const compiled = await runTolkCompiler({
  entrypointFileName: 'channel.tolk',
  fsReadCallback: (path) => readFileSync(join(root, path), 'utf8'),
});
if (compiled.status === 'error') {
  console.error(compiled.message);
  process.exit(1);
}
const text = JSON.stringify({
  generatedBy: 'node contracts/build.mjs',
  tolkVersion: await getTolkCompilerVersion(),
  codeHash: compiled.codeHashHex.toLowerCase(),
  codeBoc: compiled.codeBoc64,
}, null, 2) + '\n';

if (process.argv.includes('--check')) {
  if (readFileSync(artifact, 'utf8') !== text) {
    console.error('contracts/build/channel.json is not what the sources compile to: run `npm ci && node build.mjs` in contracts/ and commit it');
    process.exit(1);
  }
  console.log('contracts/build/channel.json is up to date');
} else {
  mkdirSync(dirname(artifact), { recursive: true });
  writeFileSync(artifact, text);
  console.log(`wrote build/channel.json, code hash ${JSON.parse(text).codeHash}`);
}
