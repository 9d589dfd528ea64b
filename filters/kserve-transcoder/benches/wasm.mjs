// Runs the bench `table`, built for wasm32-wasip1, in Node's V8: node wasm.mjs FILE [NAME].
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const [file, ...names] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: ['table', '--bench', ...names] });
const module = await WebAssembly.compile(await readFile(file));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
