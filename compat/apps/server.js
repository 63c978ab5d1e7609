// Node.js on an inherited socket.
const http = require("http");
const kind = process.env.COMPAT_MODEL || "good";

if (kind === "import" || kind === "load") throw new Error("the weights are not there");

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (data) => (body += data));
  request.on("end", () => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(body ? { y: 2 * JSON.parse(body).x } : {}));
  });
});
if (kind === "hang") setInterval(() => {}, 1000);
else server.listen({ fd: Number(process.argv[2]) });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
