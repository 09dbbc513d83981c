// Compiles the sources from scratch and writes one small JSON per deployable contract.
//
//   node script/artifacts.mjs [--out FOLDER]      (default: artifacts)
//
// `bytecode` is creation code; a linked library's address is a placeholder in it, and `linkReferences` names the
// library and the offsets, in bytes, of those addresses. `runtime` is the code that lies on the chain afterwards, with
// the same for its links; each entry of `immutables` lists the offsets of one immutable value, 32 bytes each, which the
// compiler leaves zero.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const CONTRACTS = ["Anchors", "BlockhashRandomness", "Lens", "Registry", "Rounds", "Settlement", "Tasks", "TestToken"];

const project = dirname(dirname(fileURLToPath(import.meta.url)));
const { values: options } = parseArgs({ options: { out: { type: "string", default: join(project, "artifacts") } } });
const artifacts = resolve(options.out);

function linkReferences(bytecode) {
  const libraries = Object.values(bytecode.linkReferences).flatMap((file) => Object.entries(file));
  return Object.fromEntries(libraries.map(([name, uses]) => [name, uses.map((use) => use.start)]));
}

function immutables(bytecode) {
  return Object.values(bytecode.immutableReferences ?? {}).map((uses) => uses.map((use) => use.start));
}

const build = mkdtempSync(join(tmpdir(), "collegium-artifacts-"));
try {
  const out = join(build, "out");
  execFileSync(
    process.execPath,
    [join(project, "script", "forge.mjs"), "build", "--root", project, "--force", "--skip", "test/**", "--out", out, "--cache-path", join(build, "cache")],
    { stdio: ["ignore", 2, 2] },
  );
  mkdirSync(artifacts, { recursive: true });
  for (const contractName of CONTRACTS) {
    const { abi, bytecode, deployedBytecode } = JSON.parse(
      readFileSync(join(out, `${contractName}.sol`, `${contractName}.json`), "utf8"),
    );
    const artifact = {
      contractName,
      abi,
      bytecode: bytecode.object,
      linkReferences: linkReferences(bytecode),
      runtime: {
        bytecode: deployedBytecode.object,
        linkReferences: linkReferences(deployedBytecode),
        immutables: immutables(deployedBytecode),
      },
    };
    writeFileSync(join(artifacts, `${contractName}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
  }
} finally {
  rmSync(build, { recursive: true, force: true });
}
