"""Uses the API through the client that openapi-python-client generates from
docs/openapi.json, and checks that every value of an answer has the type that
the client declares: the client itself checks none.

    python check.py URL ADMIN_KEY IMAGE

The client is a package agiqa_client on the path; IMAGE is examples/harbour.jpg.
"""

import base64
import io
import sys
import types
from http import HTTPStatus
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

from agiqa_client import AuthenticatedClient, Client, models
from agiqa_client.api.checkpoints import diff_checkpoints, list_checkpoints, show_checkpoint
from agiqa_client.api.experiments import (
    create_experiment,
    experiment_report,
    experiment_report_page,
    feedback,
    label_tasks,
    list_audits,
    list_experiments,
    show_experiment,
    start_experiment,
    stop_experiment,
)
from agiqa_client.api.operation import liveness, metrics, readiness
from agiqa_client.api.scoring import compare, preprocess, score
from agiqa_client.types import UNSET, File

DEFAULT, OTHER = "demo", "demo-shared"
PNG = b"\x89PNG\r\n\x1a\n"


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def misfit(value, hint, where):
    """Returns how a value differs from its declared type, or None."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        faults = [misfit(value, one, where) for one in args]
        return None if None in faults else " and ".join(faults)
    if hint is Any:
        return None
    wanted = (float, int) if hint is float else (origin or hint,)
    if type(value) not in wanted:
        return f"{where} is {value!r}, a {type(value).__name__}, want {hint}"
    if origin is list:
        parts = [(v, args[0], f"{where}[{i}]") for i, v in enumerate(value)]
    elif origin is dict:
        parts = [(v, args[1], f"{where}[{k!r}]") for k, v in value.items()]
    elif attrs.has(hint):
        hints = get_type_hints(hint, localns=vars(models))
        parts = [(getattr(value, f.name), hints[f.name], f"{where}.{f.name}") for f in attrs.fields(hint)]
    else:
        parts = []
    return next(filter(None, (misfit(*part) for part in parts)), None)


def ok(kind, response, status=HTTPStatus.OK):
    """Checks the status and the types of an answer, and returns it."""
    assert response.status_code == status, f"got {response.status_code}, want {status}: {response.content[:500]!r}"
    fault = misfit(response.parsed, kind, kind.__name__)
    assert not fault, fault
    return response.parsed


def fails(response, status, code):
    problem = ok(models.Problem, response, status)
    check_problem(problem, status, code)
    equal(response.headers["content-type"], "application/problem+json")
    equal(response.headers["x-request-id"], problem.request_id)
    return problem


def check_problem(problem, status, code):
    equal(problem.status, status)
    equal(problem.code, models.ProblemCode(code))
    equal(problem.type_, "urn:agiqa:problem:" + code)
    assert problem.title and problem.detail
    equal(problem.retryable, False)
    equal(problem.retry_after_ms, UNSET)
    equal(len(problem.trace_id), 32)


def check_digest(digest):
    assert digest.startswith("sha256:") and len(digest) == len("sha256:") + 64, digest


def check_score(value):
    assert 1 <= value <= 5, value


def check_categories(categories):
    for word in ("terrible", "bad", "poor", "average", "good", "perfect"):
        assert -1 <= getattr(categories, word) <= 1, (word, categories)


def check_response(response):
    check_digest(response.encoder.digest)
    assert response.preprocess and response.request_id
    equal(len(response.trace_id), 32)
    assert response.timing_ms["total"] > 0


def check_result(result, id, checkpoint=DEFAULT):
    equal(result.id, id)
    check_score(result.score)
    check_categories(result.categories)
    equal(result.checkpoint.name, checkpoint)
    check_digest(result.checkpoint.digest)
    image = result.image
    equal((image.format_, image.width, image.height), (models.ImageRefFormat.JPEG, 640, 480))
    equal(len(image.sha256), 64)
    assert result.cache is not None
    equal(result.error, None)
    return result.score


def check_operation(client):
    report = ok(models.ReadinessReport, readiness.sync_detailed(client=client))
    equal(report.status, models.ReadinessReportStatus.READY)
    for check in report.checks:
        equal((check.name != "", check.ok), (True, True))
    equal(liveness.sync_detailed(client=client).status_code, HTTPStatus.OK)
    assert "agiqa_" in ok(str, metrics.sync_detailed(client=client))


def check_checkpoints(client):
    listed = ok(models.ListOutputBody, list_checkpoints.sync_detailed(client=client))
    equal(listed.default, DEFAULT)
    check_digest(listed.encoder.digest)
    for c in listed.checkpoints:
        check_digest(c.digest)
        equal(c.default, c.name == DEFAULT)
    by_name = {c.name: c for c in listed.checkpoints}
    for c in (by_name[DEFAULT], by_name[OTHER]):
        equal((c.score.min_, c.score.max_, c.score.unit, c.views), (1, 5, "MOS", ["224"]))
    shown = ok(models.CheckpointView, show_checkpoint.sync_detailed(OTHER, client=client))
    equal(shown.digest, by_name[OTHER].digest)
    diff = ok(models.CheckpointDiff, diff_checkpoints.sync_detailed(DEFAULT, OTHER, client=client))
    assert diff.fields, diff
    fails(show_checkpoint.sync_detailed("nothing", client=client), 404, "checkpoint_not_found")


def check_scoring(client, photo):
    encoded = base64.b64encode(photo).decode()
    body = models.ScoreRequest(images=[models.ImageInput(id="harbour", data=encoded)])
    answer = ok(models.ScoreResponse, score.sync_detailed(client=client, body=body))
    check_response(answer)
    equal(len(answer.results), 1)
    want = check_result(answer.results[0], "harbour")
    equal(answer.results[0].scores, UNSET)
    equal(answer.results[0].embedding, UNSET)

    files = models.ScoreFilesBody(
        image=[File(io.BytesIO(photo), "a.jpg", "image/jpeg"), File(io.BytesIO(photo), "b.jpg", "image/jpeg")]
    )
    answer = ok(models.ScoreResponse, score.sync_detailed(client=client, body=files))
    equal([check_result(r, r.id) for r in answer.results], [want, want])

    answer = ok(
        models.ScoreResponse,
        score.sync_detailed(
            client=client,
            body=File(io.BytesIO(photo)),
            checkpoint=[OTHER],
            include=[models.ScoreIncludeItem.EMBEDDING, models.ScoreIncludeItem.VIEWS],
            preprocess=models.ScorePreprocess.EXACT,
        ),
    )
    check_result(answer.results[0], answer.results[0].id, OTHER)
    norm = sum(v**2 for v in answer.results[0].embedding)
    assert abs(norm - 1) < 1e-4, norm
    (seen,) = answer.results[0].views
    equal((seen.view, seen.score), ("224", answer.results[0].score))
    equal((seen.box.x, seen.box.y, seen.box.width, seen.box.height), (79, 0, 482, 480))

    image = preprocess.sync_detailed(client=client, body=File(io.BytesIO(photo)))
    equal(image.status_code, HTTPStatus.OK)
    equal(image.content[: len(PNG)], PNG)
    equal(image.parsed.payload.read(), image.content)


def check_partial_failure(client, photo):
    body = models.ScoreRequest(
        images=[
            models.ImageInput(id="good", data=base64.b64encode(photo).decode()),
            models.ImageInput(id="cut", data=base64.b64encode(photo[: len(photo) // 2]).decode()),
            models.ImageInput(id="no base64", data="?"),
        ]
    )
    good, cut, text = ok(models.ScoreResponse, score.sync_detailed(client=client, body=body)).results
    check_result(good, "good")
    for result, id, status, code in (
        (cut, "cut", 422, "image_truncated"),
        (text, "no base64", 400, "bad_base64"),
    ):
        equal(result.id, id)
        check_problem(result.error, status, code)
        equal((result.score, result.checkpoint, result.categories, result.image, result.cache), (None,) * 5)


def check_compare(client, photo):
    body = models.ScoreRequest(
        images=[models.ImageInput(data=base64.b64encode(photo).decode())], checkpoints=[DEFAULT, OTHER]
    )
    for request in (body, File(io.BytesIO(photo))):
        answer = ok(models.ScoreResponse, compare.sync_detailed(client=client, body=request))
        check_response(answer)
        (result,) = answer.results
        check_result(result, result.id)
        equal([s.checkpoint.name for s in result.scores], [DEFAULT, OTHER])
        for verdict in result.scores:
            check_score(verdict.score)
            check_categories(verdict.categories)
            equal(verdict.error, None)
        equal(result.scores[0].score, result.score)


def check_errors(client, photo):
    encoded = base64.b64encode(photo).decode()

    def one(data):
        return models.ScoreRequest(images=[models.ImageInput(data=data)])

    fails(
        score.sync_detailed(client=client, body=one(encoded), checkpoint=["nothing"]), 404, "checkpoint_not_found"
    )
    fails(
        compare.sync_detailed(client=client, body=models.ScoreRequest(one(encoded).images, checkpoints=["nothing"])),
        404,
        "checkpoint_not_found",
    )
    fails(score.sync_detailed(client=client, body=one("?")), 400, "bad_base64")
    corrupt = base64.b64encode(photo[:200] + bytes(200) + photo[400:]).decode()
    fails(score.sync_detailed(client=client, body=one(corrupt)), 422, "image_corrupt")
    fails(score.sync_detailed(client=client, body=File(io.BytesIO(b"text"))), 415, "unsupported_image_format")
    # The client's types have no room for an unknown member.
    response = client.get_httpx_client().post("/v1/score", json={"images": [{"data": encoded, "name": "x"}]})
    equal(response.status_code, 400)
    problem = models.Problem.from_dict(response.json())
    check_problem(problem, 400, "unknown_field")


DEFINITION = """
id: python
hypothesis: demo-shared agrees better with raters
arms:
  - {checkpoint: demo, weight: 50%}
  - {id: new, checkpoint: demo-shared, weight: 50%}
"""


def check_experiments(client, admin, photo):
    fails(list_experiments.sync_detailed(client=client), 401, "unauthenticated")
    bad = create_experiment.sync_detailed(client=admin, body=File(io.BytesIO(b"id: X Y")))
    assert fails(bad, 422, "experiment_invalid").errors
    fails(show_experiment.sync_detailed("nothing", client=admin), 404, "not_found")

    created = create_experiment.sync_detailed(client=admin, body=File(io.BytesIO(DEFINITION.encode())))
    check_experiment(ok(models.Experiment, created, HTTPStatus.CREATED), "DRAFT")
    check_experiment(ok(models.ChangedExperiment, start_experiment.sync_detailed("python", client=admin)), "RUNNING")
    (listed,) = ok(models.ListExperimentsOutputBody, list_experiments.sync_detailed(client=admin)).experiments
    check_experiment(listed, "RUNNING")

    body = models.ScoreRequest(images=[models.ImageInput(data=base64.b64encode(photo).decode())])
    answer = ok(
        models.ScoreResponse,
        score.sync_detailed(client=admin, body=body, x_agiqa_unit="a person", x_agiqa_blind=True),
    )
    (result,) = answer.results
    shown = result.experiment
    equal((shown.id, shown.phase), ("python", 1))
    equal((result.score, result.withheld), (None, models.ResultWithheld.BLIND))
    fails(score.sync_detailed(client=client, body=body, x_agiqa_unit="a person"), 403, "forbidden")
    ask = models.TasksRequest(rater_id="b", images=[result.image.sha256])
    (task,) = ok(models.TasksOutputBody, label_tasks.sync_detailed("python", client=admin, body=ask)).tasks
    equal((task.kind, task.image_sha256), (models.LabellingTaskKind.IMAGE, result.image.sha256))
    label = models.FeedbackRequest(
        idempotency_key="python",
        task=task.task,
        rater_id="b",
        kind=models.FeedbackRequestKind.MOS,
        value=4.0,
    )
    receipt = ok(
        models.FeedbackReceipt, feedback.sync_detailed(client=admin, body=label), HTTPStatus.CREATED
    )
    equal(
        (receipt.standing, receipt.blind, receipt.duplicate),
        (models.FeedbackReceiptStanding.ACCEPTED, True, False),
    )
    again = ok(models.FeedbackReceipt, feedback.sync_detailed(client=admin, body=label))
    equal((again.id, again.duplicate), (receipt.id, True))
    label.value = 3.0
    fails(feedback.sync_detailed(client=admin, body=label), 409, "conflict")

    status = ok(models.ExperimentStatus, show_experiment.sync_detailed("python", client=admin))
    check_experiment(status.experiment, "RUNNING")
    equal([s.arm for s in status.arms], ["new"])
    assert status.guards
    report = ok(models.ExperimentReport, experiment_report.sync_detailed("python", client=admin))
    equal([arm.arm for arm in report.arms], ["demo", "new"])
    page = ok(str, experiment_report_page.sync_detailed("python", client=admin))
    assert page.lower().startswith("<!doctype html>"), page[:100]
    audits = ok(models.AuditsOutputBody, list_audits.sync_detailed("python", client=admin)).audits
    equal([audit.to.name for audit in audits], ["DRAFT", "RUNNING"])
    check_experiment(ok(models.Experiment, stop_experiment.sync_detailed("python", client=admin)), "STOPPED")
    fails(start_experiment.sync_detailed("python", client=admin), 409, "conflict")


def check_experiment(experiment, state):
    equal((experiment.id, experiment.state.name), ("python", state))
    equal([(arm.checkpoint, arm.weight_ppm) for arm in experiment.arms], [(DEFAULT, 500000), (OTHER, 500000)])
    equal(experiment.created.tzinfo is not None, True)


def main(url, key, path):
    with open(path, "rb") as f:
        photo = f.read()
    with Client(base_url=url) as client, AuthenticatedClient(base_url=url, token=key) as admin:
        check_operation(client)
        check_checkpoints(client)
        check_scoring(client, photo)
        check_partial_failure(client, photo)
        check_compare(client, photo)
        check_errors(client, photo)
        check_experiments(client, admin, photo)
    print("the generated Python client: every answer has its documented type")


if __name__ == "__main__":
    main(*sys.argv[1:])
