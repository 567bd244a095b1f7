// Fetches the slide and posts its size with Node's own fetch.
const { SCAN_URL, HOST, TASK_ID, SCAN_ID, JWT_TOKEN } = process.env;
const size = (await (await fetch(SCAN_URL)).arrayBuffer()).byteLength;
const body = { scanResults: [{ scanId: SCAN_ID, results: { summary: `${size} bytes` } }] };
const answer = await fetch(`https://api.${HOST}/api/v3/external/results/${TASK_ID}`, {
  method: "POST",
  headers: { Authorization: `Bearer ${JWT_TOKEN}`, "Content-Type": "application/json" },
  body: JSON.stringify(body),
});
console.log("status", answer.status);
process.exit(answer.status === 201 ? 0 : 1);
