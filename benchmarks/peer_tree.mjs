// Build the tree of npm's @openzeppelin/merkle-tree over COUNT notes; print the seconds that took, as JSON.
import { createHash } from "node:crypto";
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";

const notes = Array.from({ length: Number(process.argv[2]) }, (_, index) => {
  const digest = createHash("sha256").update(String(index)).digest("hex");
  return ["0x" + digest.slice(0, 40), BigInt("0x" + digest.slice(40, 48)) + 1n];
});
const started = process.hrtime.bigint();
const tree = StandardMerkleTree.of(notes, ["address", "uint256"]);
const seconds = Number(process.hrtime.bigint() - started) / 1e9;
console.log(JSON.stringify({ seconds, root: tree.root }));
