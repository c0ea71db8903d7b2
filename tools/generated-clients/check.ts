// Uses the API through the types that openapi-typescript generates from
// docs/openapi.json. The compiler checks what is sent and read; the program
// checks the values.
//
//     node check.js URL ADMIN_KEY IMAGE
//
// IMAGE is examples/harbour.jpg.
import { deepStrictEqual as equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const first = "demo";
const second = "demo-shared";
const [url = "", key = "", path = ""] = process.argv.slice(2);
const photo = new Uint8Array(await readFile(path));
const encode = (data: Uint8Array) => Buffer.from(data).toString("base64");
const base64 = encode(photo);
const client = createClient<paths>({ baseUrl: url });
const admin = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

// bytes is the body of a request as it is, where JSON would be made of it.
const bytes = { headers: { "Content-Type": "application/octet-stream" }, bodySerializer: (body: unknown) => body as Blob };

interface Answer<Data, Problem> {
  data?: Data;
  error?: Problem;
  response: Response;
}

function answered<Data, Problem>(a: Answer<Data, Problem>, status = 200): Data {
  equal([a.response.status, a.error], [status, undefined]);
  ok(a.data !== undefined);
  return a.data;
}

function failed(a: Answer<unknown, Schemas["Problem"]>, status: number, code: Schemas["Problem"]["code"]) {
  equal(a.response.status, status);
  equal(a.response.headers.get("Content-Type"), "application/problem+json");
  equal(a.data, undefined);
  ok(a.error);
  checkProblem(a.error, status, code);
  equal(a.response.headers.get("X-Request-ID"), a.error.request_id);
  return a.error;
}

function checkProblem(problem: Schemas["Problem"], status: number, code: Schemas["Problem"]["code"]) {
  equal([problem.status, problem.code, problem.type], [status, code, `urn:agiqa:problem:${code}`]);
  equal([problem.retryable, problem.retry_after_ms], [false, undefined]);
  ok(problem.title.length > 0 && problem.detail.length > 0 && problem.trace_id.length === 32);
}

function checkScore(value: number | null): number {
  ok(typeof value === "number" && value >= 1 && value <= 5, `score ${value}`);
  return value;
}

function checkCategories(categories: Schemas["Categories"] | null) {
  ok(categories);
  const { terrible, bad, poor, average, good, perfect } = categories;
  for (const value of [terrible, bad, poor, average, good, perfect]) {
    ok(typeof value === "number" && Math.abs(value) <= 1, `category ${value}`);
  }
}

function checkResult(result: Schemas["Result"], checkpoint = first): number {
  const score = checkScore(result.score);
  checkCategories(result.categories);
  equal(result.checkpoint?.name, checkpoint);
  ok(result.checkpoint?.digest.startsWith("sha256:"));
  equal([result.image?.format, result.image?.width, result.image?.height], ["jpeg", 640, 480]);
  equal(result.image?.sha256.length, 64);
  ok(result.cache !== null && ["hit", "miss"].includes(result.cache.image_embedding));
  equal(result.error, null);
  return score;
}

function only<T>(list: readonly T[] | null | undefined): T {
  equal(list?.length, 1);
  return list?.[0] as T;
}

async function checkOperation() {
  const report = answered(await client.GET("/readyz"));
  equal(report.status, "ready");
  ok(report.checks.length > 0);
  for (const check of report.checks) {
    equal([typeof check.name, check.ok, typeof check.critical], ["string", true, "boolean"]);
  }
  answered(await client.GET("/healthz"));
  ok(answered(await client.GET("/metrics", { parseAs: "text" })).includes("agiqa_"));
}

async function checkCheckpoints() {
  const listed = answered(await client.GET("/v1/checkpoints"));
  equal(listed.default, first);
  for (const c of listed.checkpoints) {
    equal(c.default, c.name === first);
    ok(c.digest.startsWith("sha256:") && c.context_length > 0);
  }
  const named = (name: string) => only(listed.checkpoints.filter((c) => c.name === name));
  for (const c of [named(first), named(second)])
    equal([c.score.min, c.score.max, c.score.unit, c.views], [1, 5, "MOS", ["224"]]);
  const shown = answered(await client.GET("/v1/checkpoints/{name}", { params: { path: { name: second } } }));
  equal(shown.digest, named(second).digest);
  const diff = answered(
    await client.GET("/v1/checkpoints/{name}/diff/{other}", { params: { path: { name: first, other: second } } }),
  );
  equal([diff.same, diff.a.name, diff.b.name], [false, first, second]);
  failed(
    await client.GET("/v1/checkpoints/{name}", { params: { path: { name: "nothing" } } }),
    404,
    "checkpoint_not_found",
  );
}

async function checkScoring() {
  const answer = answered(await client.POST("/v1/score", { body: { images: [{ id: "harbour", data: base64 }] } }));
  ok(answer.encoder.digest.startsWith("sha256:") && answer.preprocess.length > 0);
  ok((answer.timing_ms["total"] ?? 0) > 0);
  const result = only(answer.results);
  equal([result.id, result.scores, result.embedding], ["harbour", undefined, undefined]);
  const want = checkResult(result);

  const files = answered(
    await client.POST("/v1/score", {
      body: { image: [new Blob([photo], { type: "image/jpeg" }), new Blob([photo])] },
      bodySerializer(body) {
        const form = new FormData();
        ok("image" in body);
        body.image.forEach((image, i) => form.append("image", image, `${i}.jpg`));
        return form;
      },
    }),
  );
  equal(files.results.map((r) => checkResult(r)), [want, want]);

  const other = answered(
    await client.POST("/v1/score", {
      params: { query: { checkpoint: [second], include: ["embedding", "views"], preprocess: "exact" } },
      body: new Blob([photo]),
      ...bytes,
    }),
  );
  checkResult(only(other.results), second);
  const norm = only(other.results).embedding?.reduce((sum, v) => sum + v * v, 0) ?? 0;
  ok(Math.abs(norm - 1) < 1e-4, `norm ${norm}`);
  const seen = only(only(other.results).views ?? []);
  equal([seen.view, seen.score], ["224", only(other.results).score]);
  equal(seen.box, { x: 79, y: 0, width: 482, height: 480 });

  const png = answered(await client.POST("/v1/preprocess", { body: new Blob([photo]), ...bytes, parseAs: "blob" }));
  equal(Buffer.from(await png.slice(1, 4).arrayBuffer()).toString(), "PNG");
}

async function checkPartialFailure() {
  const images = [
    { id: "good", data: base64 },
    { id: "cut", data: encode(photo.subarray(0, photo.length / 2)) },
    { id: "no base64", data: "?" },
  ];
  const { results } = answered(await client.POST("/v1/score", { body: { images } }));
  equal(results.map((r) => r.id), ["good", "cut", "no base64"]);
  const [good, cut, text] = results;
  ok(good && cut?.error && text?.error);
  checkResult(good);
  checkProblem(cut.error, 422, "image_truncated");
  checkProblem(text.error, 400, "bad_base64");
  for (const r of [cut, text]) {
    equal([r.score, r.checkpoint, r.categories, r.image, r.cache], [null, null, null, null, null]);
  }
}

async function checkCompare() {
  const { results } = answered(
    await client.POST("/v1/compare", { body: { images: [{ data: base64 }], checkpoints: [first, second] } }),
  );
  const result = only(results);
  const score = checkResult(result);
  ok(result.scores);
  equal(result.scores.map((s) => s.checkpoint.name), [first, second]);
  for (const verdict of result.scores) {
    checkScore(verdict.score);
    checkCategories(verdict.categories);
    equal(verdict.error, null);
  }
  equal(result.scores[0]?.score, score);
}

async function checkErrors() {
  const images = [{ data: base64 }];
  failed(
    await client.POST("/v1/score", { params: { query: { checkpoint: ["nothing"] } }, body: { images } }),
    404,
    "checkpoint_not_found",
  );
  failed(
    await client.POST("/v1/compare", { body: { images, checkpoints: ["nothing"] } }),
    404,
    "checkpoint_not_found",
  );
  failed(await client.POST("/v1/score", { body: { images: [{ data: "?" }] } }), 400, "bad_base64");
  const corrupt = Buffer.concat([photo.subarray(0, 200), Buffer.alloc(200), photo.subarray(400)]);
  failed(
    await client.POST("/v1/score", { body: { images: [{ data: encode(corrupt) }] } }),
    422,
    "image_corrupt",
  );
  failed(
    await client.POST("/v1/score", { body: new Blob(["text"]), ...bytes }),
    415,
    "unsupported_image_format",
  );
  // @ts-expect-error: name is no member of an image
  const unknown: Schemas["ScoreRequest"] = { images: [{ data: base64, name: "x" }] };
  failed(await client.POST("/v1/score", { body: unknown }), 400, "unknown_field");
}

const definition = `
id: typescript
hypothesis: ${second} agrees better with raters
arms:
  - {checkpoint: ${first}, weight: 50%}
  - {id: new, checkpoint: ${second}, weight: 50%}
`;

async function checkExperiments() {
  const params = { path: { id: "typescript" } };
  const create = (client: Client<paths>, text: string) =>
    client.POST("/v1/experiments", {
      body: new Blob([text]),
      ...bytes,
      headers: { "Content-Type": "application/yaml" },
    });
  failed(await create(client, definition), 401, "unauthenticated");
  ok(failed(await create(admin, "id: X Y"), 422, "experiment_invalid").errors);
  failed(
    await admin.GET("/v1/experiments/{id}", { params: { path: { id: "nothing" } } }),
    404,
    "not_found",
  );
  checkExperiment(answered(await create(admin, definition), 201), "draft");
  checkExperiment(answered(await admin.POST("/v1/experiments/{id}/start", { params })), "running");
  const listed = answered(await admin.GET("/v1/experiments"));
  checkExperiment(only(listed.experiments.filter((x) => x.id === "typescript")), "running");

  const header = { "X-Agiqa-Unit": "a person", "X-Agiqa-Blind": true };
  const body = { images: [{ data: base64 }] };
  const score = answered(await admin.POST("/v1/score", { params: { header }, body }));
  const result = only(score.results);
  const shown = result.experiment;
  ok(shown?.assignment_id && result.image);
  equal([shown.id, shown.phase], ["typescript", 1]);
  equal([result.score, result.withheld], [null, "blind"]);
  failed(await client.POST("/v1/score", { body }), 403, "forbidden");
  const ask = { kind: "image" as const, count: 1, rater_id: "b", images: [result.image.sha256] };
  const issued = answered(
    await admin.POST("/v1/experiments/{id}/tasks", { params, body: ask }),
  );
  const task = only(issued.tasks);
  equal([task.kind, task.image_sha256], ["image", result.image.sha256]);
  const label: Schemas["FeedbackRequest"] = {
    idempotency_key: "typescript",
    task: task.task,
    rater_id: "b",
    kind: "mos",
    value: 4,
  };
  const receipt = answered(await admin.POST("/v1/feedback", { body: label }), 201);
  equal([receipt.standing, receipt.blind, receipt.duplicate], ["accepted", true, false]);
  equal(answered(await admin.POST("/v1/feedback", { body: label })), { ...receipt, duplicate: true });
  failed(await admin.POST("/v1/feedback", { body: { ...label, value: 3 } }), 409, "conflict");

  const status = answered(await admin.GET("/v1/experiments/{id}", { params }));
  checkExperiment(status.experiment, "running");
  equal(status.arms.map((arm) => arm.arm), ["new"]);
  ok(status.guards.length > 0);
  const report = answered(await admin.GET("/v1/experiments/{id}/report", { params }));
  equal(report.arms?.map((arm) => arm.arm), [first, "new"]);
  equal(report.experiment.id, "typescript");
  const page = answered(await admin.GET("/v1/experiments/{id}/report.html", { params, parseAs: "text" }));
  ok(page.toLowerCase().startsWith("<!doctype html>"));
  const { audits } = answered(await admin.GET("/v1/experiments/{id}/audits", { params }));
  equal(audits.map((audit) => audit.to), ["draft", "running"]);
  checkExperiment(answered(await admin.POST("/v1/experiments/{id}/stop", { params })), "stopped");
  failed(await admin.POST("/v1/experiments/{id}/start", { params }), 409, "conflict");
}

function checkExperiment(experiment: Schemas["Experiment"], state: Schemas["Experiment"]["state"]) {
  equal([experiment.id, experiment.state], ["typescript", state]);
  equal(experiment.arms.map((arm) => [arm.checkpoint, arm.weight_ppm]), [[first, 500000], [second, 500000]]);
  ok(!Number.isNaN(Date.parse(experiment.created)));
}

await checkOperation();
await checkCheckpoints();
await checkScoring();
await checkPartialFailure();
await checkCompare();
await checkErrors();
await checkExperiments();
console.log("the generated TypeScript client: every answer has its documented type");
