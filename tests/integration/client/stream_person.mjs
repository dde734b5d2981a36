/**
 * Streams a person through client.js, as the page does.
 *
 * node --experimental-websocket stream_person.mjs CLIENT URL < person.json
 *
 * Prints the index of each frame before it is sent, and at the end all that was handed over, as JSON.
 */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [client, url] = process.argv.slice(2);
const { LiveSession } = await import(pathToFileURL(client));
const { opening, keypoints, times_s, pause_ms, give_up_after_s } = JSON.parse(readFileSync(0, "utf8"));

const lifted = [];
const session = new LiveSession(url, opening, {
  giveUpAfterS: give_up_after_s,
  onFrames: (frames) => lifted.push(...frames),
});
for (const [index, frame] of keypoints.entries()) {
  console.log(index);
  await session.send(frame, times_s?.[index]);
  if (pause_ms) await sleep(pause_ms);
}
await session.end();
// A connection that the network swallowed would keep Node.js waiting for its end.
process.stdout.write(`${JSON.stringify(lifted)}\n`, () => process.exit());
