'use strict';
/*
 * The command line of solc, over the WebAssembly build that npm carries.
 *
 * Serves what py-solc-x, Brownie, crytic-compile (slither) and forge ask of a native compiler:
 *
 *   --version
 *   --standard-json [FILE|-] [--base-path P] [--include-path P]... [--allow-paths P,P]
 *   --combined-json FIELDS FILE... [PREFIX=TARGET]... [--optimize] [--optimize-runs N] [--via-ir]
 *                   [--evm-version V] [--metadata-hash H] [--no-cbor-metadata]
 *
 * Imports are read from the file system as the native compiler reads them: relative to the base path, then
 * to each include path, and only below those, below remapping targets and below allowed paths.
 */

const fs = require('fs');
const path = require('path');

const SINGLE = new Set(['--base-path', '--allow-paths', '--combined-json', '--optimize-runs', '--evm-version',
  '--metadata-hash', '--include-path']);
const SWITCHES = new Set(['--version', '--optimize', '--via-ir', '--no-cbor-metadata', '--standard-json',
  '--pretty-json', '--no-color', '-']);

/** What combined JSON calls a field, and where standard JSON keeps it: [output selection, reader]. */
const FIELDS = {
  'abi': ['abi', (c) => c.abi],
  'bin': ['evm.bytecode.object', (c) => c.evm.bytecode.object],
  'bin-runtime': ['evm.deployedBytecode.object', (c) => c.evm.deployedBytecode.object],
  'srcmap': ['evm.bytecode.sourceMap', (c) => c.evm.bytecode.sourceMap],
  'srcmap-runtime': ['evm.deployedBytecode.sourceMap', (c) => c.evm.deployedBytecode.sourceMap],
  'hashes': ['evm.methodIdentifiers', (c) => c.evm.methodIdentifiers],
  'asm': ['evm.legacyAssembly', (c) => c.evm.legacyAssembly],
  'opcodes': ['evm.bytecode.opcodes', (c) => c.evm.bytecode.opcodes],
  'userdoc': ['userdoc', (c) => c.userdoc],
  'devdoc': ['devdoc', (c) => c.devdoc],
  'metadata': ['metadata', (c) => c.metadata],
  'storage-layout': ['storageLayout', (c) => c.storageLayout],
};

class UsageError extends Error {}

function main(argv) {
  const options = parse(argv);
  if (options.switches.has('--version')) return version();
  if (options.switches.has('--standard-json')) return standardJson(options);
  if (options.values['--combined-json'] !== undefined) return combinedJson(options);
  throw new UsageError('expected --version, --standard-json or --combined-json');
}

/** The command line, sorted into switches, values, include paths, remappings and files. */
function parse(argv) {
  const options = { switches: new Set(), values: {}, includePaths: [], remappings: [], files: [] };
  for (let i = 0; i < argv.length; i++) {
    const [name, inline] = argv[i].startsWith('--') ? splitOnce(argv[i], '=') : [argv[i], undefined];
    if (SINGLE.has(name)) {
      const value = inline !== undefined ? inline : argv[++i];
      if (value === undefined) throw new UsageError(`${name} needs a value`);
      if (name === '--include-path') options.includePaths.push(value);
      else options.values[name] = value;
    } else if (SWITCHES.has(name)) {
      options.switches.add(name);
    } else if (name.startsWith('-')) {
      throw new UsageError(`unknown option ${name}`);
    } else if (name.includes('=')) {
      options.remappings.push(name);
    } else {
      options.files.push(name);
    }
  }
  return options;
}

function splitOnce(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

function version() {
  const full = compiler().version();
  write(1, `solc, the solidity compiler commandline interface\nVersion: ${full}\n`);
  return 0;
}

function standardJson(options) {
  if (options.files.length > 1) throw new UsageError('--standard-json takes at most one file');
  const text = options.files.length === 1 ? fs.readFileSync(options.files[0], 'utf8') : readStandardInput();
  write(1, compile(text, options, remappingsOf(text)) + '\n');
  return 0;
}

/** Remappings of the input, for the list of allowed folders; broken input is the compiler's to report. */
function remappingsOf(text) {
  try {
    return JSON.parse(text).settings?.remappings ?? [];
  } catch {
    return [];
  }
}

function combinedJson(options) {
  const wanted = options.values['--combined-json'].split(',').filter((name) => name !== 'compact-format');
  const unknown = wanted.filter((name) => name !== 'ast' && FIELDS[name] === undefined);
  if (unknown.length > 0) throw new UsageError(`--combined-json cannot give ${unknown.join(', ')}`);
  if (options.files.length === 0) throw new UsageError('--combined-json needs a source file');

  const input = combinedInput(options, wanted);
  const output = JSON.parse(compile(JSON.stringify(input), options, options.remappings));
  for (const problem of output.errors ?? []) write(2, problem.formattedMessage);
  if ((output.errors ?? []).some((problem) => problem.severity === 'error')) return 1;
  write(1, JSON.stringify(combinedOutput(output, wanted)) + '\n');
  return 0;
}

function combinedInput(options, wanted) {
  const sources = {};
  for (const file of options.files) sources[file] = { content: fs.readFileSync(file, 'utf8') };
  const settings = {
    remappings: options.remappings,
    optimizer: { enabled: options.switches.has('--optimize') },
    viaIR: options.switches.has('--via-ir'),
    metadata: { appendCBOR: !options.switches.has('--no-cbor-metadata') },
    outputSelection: {
      '*': { '*': wanted.filter((name) => name !== 'ast').map((name) => FIELDS[name][0]), '': ['ast'] },
    },
  };
  if (options.values['--optimize-runs'] !== undefined) {
    settings.optimizer.runs = Number(options.values['--optimize-runs']);
  }
  if (options.values['--evm-version'] !== undefined) settings.evmVersion = options.values['--evm-version'];
  if (options.values['--metadata-hash'] !== undefined) {
    settings.metadata.bytecodeHash = options.values['--metadata-hash'];
  }
  return { language: 'Solidity', sources, settings };
}

function combinedOutput(output, wanted) {
  const result = { contracts: {}, version: compiler().version() };
  for (const [file, contracts] of Object.entries(output.contracts ?? {})) {
    for (const [name, contract] of Object.entries(contracts)) {
      const entry = {};
      for (const field of wanted) if (field !== 'ast') entry[field] = FIELDS[field][1](contract);
      result.contracts[`${file}:${name}`] = entry;
    }
  }
  const byId = Object.entries(output.sources ?? {}).sort(([, a], [, b]) => a.id - b.id);
  result.sourceList = byId.map(([file]) => file);
  if (wanted.includes('ast')) {
    result.sources = Object.fromEntries(byId.map(([file, source]) => [file, { AST: source.ast, id: source.id }]));
  }
  return result;
}

function compile(text, options, remappings) {
  return compiler().compile(text, { import: importReader(options, remappings) });
}

/** Emscripten installs handlers that turn every later exception into its own; the caller's are kept. */
function compiler() {
  if (compiler.loaded === undefined) {
    const before = process.listeners('uncaughtException');
    compiler.loaded = require('solc');
    process.removeAllListeners('uncaughtException');
    process.removeAllListeners('unhandledRejection');
    for (const listener of before) process.on('uncaughtException', listener);
  }
  return compiler.loaded;
}

function importReader(options, remappings) {
  const roots = [options.values['--base-path'] ?? '.', ...options.includePaths].map((root) => path.resolve(root));
  const targets = remappings.map((remapping) => remapping.slice(remapping.indexOf('=') + 1)).filter(Boolean);
  const allowedPaths = (options.values['--allow-paths'] ?? '').split(',').filter(Boolean);
  const folders = options.files.map((file) => path.dirname(path.resolve(file)));
  const allowed = [...roots, ...[...targets, ...allowedPaths].map((folder) => path.resolve(folder)), ...folders]
    .filter((folder) => fs.existsSync(folder))
    .map((folder) => fs.realpathSync(folder));
  return (unit) => readImport(unit, roots, allowed);
}

function readImport(unit, roots, allowed) {
  const name = unit.startsWith('file://') ? unit.slice('file://'.length) : unit;
  const candidates = path.isAbsolute(name) ? [name] : roots.map((root) => path.join(root, name));
  const found = [...new Set(candidates.filter(isFile).map((candidate) => fs.realpathSync(candidate)))];
  if (found.length === 0) return { error: 'File not found. Searched: ' + candidates.join(', ') };
  if (found.length > 1) return { error: 'Ambiguous import. Matching files: ' + found.join(', ') };
  if (!allowed.some((folder) => found[0] === folder || isBelow(found[0], folder))) {
    return { error: `File outside of allowed directories: ${found[0]}` };
  }
  try {
    return { contents: fs.readFileSync(found[0], 'utf8') };
  } catch (problem) {
    return { error: `Cannot read ${found[0]}: ${problem.message}` };
  }
}

function isFile(candidate) {
  return fs.statSync(candidate, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isBelow(file, folder) {
  const relative = path.relative(folder, file);
  return relative !== '..' && !relative.startsWith('..' + path.sep) && !path.isAbsolute(relative);
}

function readStandardInput() {
  const chunks = [];
  const buffer = Buffer.alloc(1 << 16);
  for (;;) {
    const length = retried(() => fs.readSync(0, buffer, 0, buffer.length, null));
    if (length === 0) return Buffer.concat(chunks).toString('utf8');
    chunks.push(Buffer.from(buffer.subarray(0, length)));
  }
}

/** Write everything before returning: process.exit would cut off what an asynchronous pipe still holds. */
function write(descriptor, text) {
  const bytes = Buffer.from(text, 'utf8');
  for (let sent = 0; sent < bytes.length;) {
    sent += retried(() => fs.writeSync(descriptor, bytes, sent, bytes.length - sent));
  }
}

/** A pipe in non-blocking mode answers EAGAIN while the other side is busy. */
function retried(operation) {
  for (;;) {
    try {
      return operation();
    } catch (problem) {
      if (problem.code === 'EOF') return 0;
      if (problem.code !== 'EAGAIN') throw problem;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (problem) {
  write(2, `Error: ${problem instanceof UsageError ? problem.message : problem.stack}\n`);
  process.exitCode = 1;
}
