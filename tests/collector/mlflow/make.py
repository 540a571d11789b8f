"""Fills an MLflow store with everything there is to import, and prints what MLflow's own client then sees, as JSON.

Run inside an environment with MLflow: `python make.py TRACKING_URI ARTIFACTS_FOLDER|- [--look]`.
"""

import contextlib
import json
import math
import os
import pathlib
import sys

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

import mlflow
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, SpanType, ViewType

URI, ARTIFACTS = sys.argv[1], sys.argv[2]
mlflow.set_tracking_uri(URI)
client = MlflowClient()


def experiment(name):
    more = {} if ARTIFACTS == "-" else {"artifact_location": pathlib.Path(ARTIFACTS, name.replace(" ", "_")).as_uri()}
    return client.create_experiment(name, tags={"team": "search"}, **more)


@mlflow.trace(span_type=SpanType.TOOL)
def tool(question):
    if question == "bad":
        raise ValueError("no such thing")
    return [1, None, {"k": "v"}]


@mlflow.trace(span_type=SpanType.AGENT)
def agent(question):
    more = {"mlflow.trace.session": "s-1", "mlflow.trace.user": "u-1", "mine": "2"}
    mlflow.update_current_trace(tags={"tier": "gold"}, metadata=more)
    with mlflow.start_span("chat", span_type=SpanType.CHAT_MODEL) as span:
        span.set_inputs({"messages": [{"role": "user", "content": question}], "model": "small-1"})
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        answer = {"message": {"role": "assistant", "content": "42"}}
        span.set_outputs({"model": "small-1", "choices": [answer], "usage": usage})
        span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6})
    tool(question)
    return "42"


def fill():
    shop = experiment("shop bot")
    experiment("empty")
    mlflow.set_experiment("shop bot")
    with mlflow.start_run(run_name="tune", description="a *try*"):
        mlflow.log_params({"lr": 0.1, "model": "small-1", "long": "x" * 400})
        mlflow.log_metrics({"nan": math.nan, "inf": math.inf, "a/b": 3.0})
        for step in range(20):
            client.log_metric(mlflow.active_run().info.run_id, "loss", 1 / (step + 1), step=step)
        mlflow.log_metric("neg", -2.5, step=-3)
        mlflow.set_tags({"team": "search", "ünï.code": "☃ "})
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": 1}, "conf.json")
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("acc", 0.5)
        for question in ("one", "two"):
            agent(question)
        with contextlib.suppress(ValueError):
            agent("bad")
        mlflow.flush_trace_async_logging()
    for name, status in (("bad", "FAILED"), ("killed", "KILLED")):
        client.set_terminated(client.create_run(shop, run_name=name).info.run_id, status)
    client.create_run(shop, run_name="open")
    client.delete_run(client.create_run(shop, run_name="gone").info.run_id)
    trace = mlflow.search_traces(locations=[shop], return_type="list")[0]
    about = {"trace_id": trace.info.trace_id}
    human, judge = AssessmentSource("HUMAN", "ann"), AssessmentSource("LLM_JUDGE", "m")
    mlflow.log_feedback(name="helpful", value=True, rationale="because", source=human, metadata={"k": "v"}, **about)
    mlflow.log_feedback(name="grade", value=0.75, source=judge, span_id=trace.data.spans[0].span_id, **about)
    mlflow.log_feedback(name="tone", value="polite", source=AssessmentSource("CODE", "f"), **about)
    mlflow.log_feedback(name="broken", error=ValueError("judge broke"), source=judge, **about)
    mlflow.log_expectation(name="expected", value={"a": [1]}, source=human, **about)
    model = client.create_logged_model(shop, name="bot", params={"k": "3"}, source_run_id=None)
    client.create_registered_model("support-bot", tags={"owner": "ann"}, description="our *bot*")
    for number in range(3):
        more = {"tags": {"n": str(number)}, "description": f"v{number + 1}", "model_id": model.model_id}
        client.create_model_version("support-bot", f"models:/{model.model_id}", **more)
    client.delete_model_version("support-bot", "2")
    client.set_registered_model_alias("support-bot", "champion", "3")
    client.create_logged_model(shop, name="loose", params={"p": "1"}, tags={"t": "1"})


def number(value):
    return str(value) if math.isnan(value) or math.isinf(value) else value


def run_facts(run):
    keys = run.data.metrics
    series = {
        key: [[number(p.value), p.step, p.timestamp] for p in client.get_metric_history(run.info.run_id, key)]
        for key in keys
    }
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {key: sorted(points, key=lambda point: point[1:]) for key, points in series.items()},
        "artifacts": sorted(artifacts(run.info.run_id, None)),
    }


def artifacts(run, folder):
    for each in client.list_artifacts(run, folder):
        if each.is_dir:
            yield from artifacts(run, each.path)
        else:
            yield each.path


def look():
    found = {"runs": {}, "traces": {}, "models": {}}
    for each in client.search_experiments(view_type=ViewType.ACTIVE_ONLY):
        for run in client.search_runs([each.experiment_id]):
            found["runs"][run.info.run_id] = {"experiment": each.name, **run_facts(run)}
        for trace in mlflow.search_traces(locations=[each.experiment_id], return_type="list"):
            spans = [
                [
                    span.span_id,
                    span.parent_id,
                    span.name,
                    str(span.status.status_code.name),
                    span.start_time_ns,
                    span.end_time_ns,
                ]
                for span in trace.data.spans
            ]
            found["traces"][trace.info.trace_id] = {
                "spans": sorted(spans),
                "run": trace.info.trace_metadata.get("mlflow.sourceRun"),
                "assessments": sorted(one.name for one in trace.info.assessments),
            }
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        numbers = {int(one.version): [one.description, one.tags] for one in versions}
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        found["models"][model.name] = {"versions": numbers, "aliases": aliases, "description": model.description}
    return found


if "--look" not in sys.argv:
    fill()
print(json.dumps(look()))
