// graphile-worker, posting with undici, once at its best ("tuned") and once with its default preset ("default").
//
// Both: undici's Pool, one request a connection (node's own http.Agent with keepAlive was slower by a third); as many
// jobs at once as requests in flight; the pool of connections that its docs recommend, two more than jobs; no log line
// a job (NO_LOG_SUCCESS, as its own benchmark has it), no crontab.
//
// TUNED_TODO
//
// The lines it answers to are those of bench/peers/driven.py.

import { createInterface } from "node:readline";
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { Pool } from "undici";

const [connectionString, webhook, inFlight, preset] = process.argv.slice(2);
const concurrentJobs = Number(inFlight);
const target = new URL(webhook);
const http = new Pool(target.origin, { connections: concurrentJobs, pipelining: 1 });
const headers = { "content-type": "application/json" };

const tuned = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
const logger = new Logger(() => (level, text) => level === "debug" || console.error(level, text));
const worker = { connectionString, logger, concurrentJobs, maxPoolSize: concurrentJobs + 2 };
const options = { preset: { worker: { ...worker, ...(preset === "tuned" ? tuned : {}) } } };

async function deliver(payload) {
  const body = JSON.stringify(payload);
  const answer = await http.request({ path: target.pathname, method: "POST", headers, body });
  await answer.body.dump();
  if (answer.statusCode !== 202) throw new Error(`answered ${answer.statusCode}`);
}

function job(number) {
  const to = `+90555${String(number).padStart(7, "0")}`;
  return { identifier: "deliver", payload: { to, content: `Your code is ${number}` } };
}

const utils = await makeWorkerUtils(options);
await utils.migrate();
console.log("ready");

let runner;
for await (const line of createInterface({ input: process.stdin })) {
  const [word, count] = line.split(" ");
  if (word === "fill") {
    await utils.withPgClient((client) => client.query("TRUNCATE graphile_worker._private_jobs"));
    await utils.addJobs(Array.from({ length: Number(count) }, (_, index) => job(index + 1)));
    console.log("filled");
  } else if (word === "go") {
    runner = await run({ ...options, taskList: { deliver }, parsedCronItems: [], noHandleSignals: true });
  } else if (word === "stop") {
    await runner.stop();
    console.log("stopped");
  }
}
