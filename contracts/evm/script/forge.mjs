// Runs forge with the arguments given, and ends as it ends. The package's own launcher ends with 0 whatever forge
// says, so that a failing test would pass unnoticed.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";

const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };

const platform = `${process.platform}-${ARCHITECTURES[process.arch]}`;
const forge = createRequire(import.meta.url).resolve(`@foundry-rs/forge-${platform}/bin/forge`);
const { status, error } = spawnSync(forge, process.argv.slice(2), { stdio: "inherit" });
if (error) throw error;
// None where a signal ended it.
process.exit(status ?? 1);
