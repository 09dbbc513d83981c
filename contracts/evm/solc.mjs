#!/usr/bin/env node
// Speaks the two dialects of the native compiler that forge uses (`--version`, `--standard-json`) and answers with
// the pinned WebAssembly build from npm, so that no compiler is downloaded.
import { readFileSync, writeSync } from "node:fs";
import solc from "solc";

function print(text) {
  const bytes = Buffer.from(text);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += writeSync(1, bytes, offset);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

const options = process.argv.slice(2);
if (options.includes("--version")) {
  print(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (options.includes("--standard-json")) {
  print(solc.compile(readFileSync(0, "utf8")));
} else {
  process.stderr.write(`solc.mjs understands --version and --standard-json, not: ${options.join(" ")}\n`);
  process.exit(2);
}
