// The scene of the Python clients, for Node: see ../scene.py.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const SCENE = new URL("../scene.py", import.meta.url).pathname;

// Starts gateway and upstream; `end` ends both and fails if the gateway did not end well.
export async function scene(program = SCENE) {
  const staged = spawn("python3", [program], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise((resolve) => staged.once("exit", resolve));
  const lines = createInterface({ input: staged.stdout })[Symbol.asyncIterator]();
  const { value, done } = await lines.next();
  if (done) throw new Error(`the scene did not start: exit code ${await exited}`);
  const { url, upstream } = JSON.parse(value);
  return {
    url,
    async asked(model) {
      const answer = await fetch(`${upstream}/asked/${model}`);
      return (await answer.json()).asked;
    },
    async end() {
      staged.stdin.end();
      const code = await exited;
      if (code !== 0) throw new Error(`the scene ended with ${code}`);
    },
  };
}
