// graphile-worker, posting with undici, once at its best ("tuned") and once with its default preset ("default").
//
// Both: undici's Pool, one request a connection (node's own http.Agent with keepAlive was slower by 40 %); as many jobs
// at once as requests in flight; no log line a job (NO_LOG_SUCCESS, as its own benchmark has it); no crontab.
//
// Tuned: a local queue of 2,000 (faster than the 500 of its own benchmark; 4,000 and 8,000 were no faster still); results
// in batches of 25 ms, which its docs give to start with (0, 5, 50 and 100 were no faster); two connections more than jobs,
// as its docs recommend (4, 8 and 20 were no faster). Measured in one process and in two, which share the requests in flight.
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

const maxPoolSize = concurrentJobs + 2;
const tuned = { maxPoolSize, localQueue: { size: 2000 }, completeJobBatchDelay: 25, failJobBatchDelay: 25 };
const logger = new Logger(() => (level, text) => level === "debug" || console.error(level, text));
const worker = { connectionString, logger, concurrentJobs };
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
