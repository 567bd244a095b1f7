// The real Kue of npm, for tests. Its first argument says what it does:
//   serve PORT REDIS_PORT PASSWORD            Kue's HTTP
//   work PORT REDIS_PORT PASSWORD             the same, and a worker of the type analysisJob
//   listen REDIS_PORT PASSWORD                prints each event of a queue as a line of JSON
//   read REDIS_PORT PASSWORD ID               prints a job as Kue reads it from Redis
// A line "ready" says that it works. It ends when its standard input is closed.
const kue = require("kue");
const [what, ...given] = process.argv.slice(2);
process.stdin.on("end", () => process.exit(0)).resume();

function queueAt(port, password) {
  return kue.createQueue({ redis: { host: "127.0.0.1", port, auth: password || undefined } });
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

if (what === "serve" || what === "work") {
  const queue = queueAt(given[1], given[2]);
  if (what === "work") {
    queue.process("analysisJob", (job, done) => {
      job.progress(95, 100, { order: "x" });
      setTimeout(() => (job.data.fails ? done(new Error("no slide")) : done(null, { a: 1 })), 50);
    });
  }
  kue.app.listen(Number(given[0]), "127.0.0.1", () => print("ready"));
}
if (what === "listen") {
  const queue = queueAt(given[0], given[1]);
  for (const event of [
    "enqueue", "start", "progress", "complete", "error", "failed", "failed attempt", "remove",
  ]) {
    queue.on(`job ${event}`, (id, ...rest) => print([event, id, ...rest]));
  }
  require("kue/lib/redis").pubsubClient().on("subscribe", () => print("ready"));
}
if (what === "read") {
  queueAt(given[0], given[1]);
  kue.Job.get(given[2], (error, job) => {
    print(error ? { error: error.message } : job.toJSON());
    process.exit(0);
  });
}
