"""The JSON report, schema 1. Values JSON lacks (an infinite SQNR, a latency not measured) are null."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from fxconv.analysis.compare import SCHEMA
from fxconv.report.latency import latency_json
from fxconv.report.review import in_parts
from fxconv.report.runtimes import fit_json
from fxconv.targets.proof.metadata import preprocessing_told
from rewrites import Hunk, Rewritten

if TYPE_CHECKING:
    from fxconv.analysis.dry_run import DryRun
    from fxconv.analysis.sensitivity import Sensitivity
    from fxconv.analysis.study import Study
    from fxconv.config import Config
    from fxconv.conversion import Conversion
    from fxconv.measures.judge import Judgement
    from fxconv.measures.metric import MetricName
    from fxconv.models.model_info import ModelInfo
    from fxconv.models.preprocessing import Preprocessing
    from fxconv.quantization.fine_tuned import FineTuned
    from fxconv.quantization.recipe_search.recipe import ChosenRecipe
    from fxconv.targets.written_file import WrittenFile
    from fxconv.verification.parity import StageParity


# A report has so many parts of outputs that noise nearly drowns.
_MOST_FAINT = 32


def plain(value: Any) -> Any:
    """Enums as their values, numbers JSON lacks as None, tuples as lists."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _hunk(hunk: Hunk) -> dict[str, Any]:
    """What a pass changed in one module; `sources` are lines of the model, one for each of `lines`, or null."""
    return {
        "module": hunk.module,
        "kind": hunk.kind,
        "reasons": hunk.reasons,
        "lines": hunk.lines,
        "sources": [source or None for source in hunk.sources],
    }


def passes(rewritten: Rewritten) -> list[dict[str, Any]]:
    """What each pass did."""
    return [
        {
            "name": result.name,
            "edits": [asdict(edit) for edit in result.edits],
            "skips": [asdict(skip) for skip in result.skips],
            "hunks": [_hunk(hunk) for hunk in result.hunks],
            "diff": result.diff,
        }
        for result in rewritten.results
    ]


def heading(info: ModelInfo, config: Config) -> dict[str, Any]:
    """The part every report begins with: what was asked for."""
    return {"schema": SCHEMA, "model": plain(asdict(info)), "config": plain(asdict(config))}


def _judgement(judgement: Judgement | None) -> dict[str, Any] | None:
    """How int8 answers, and what was kept in float for a budget; None when nobody asked."""
    if judgement is None:
        return None
    return {
        "measure": judgement.measure,
        "score": judgement.score,
        **asdict(judgement),
        "drop": judgement.drop,
        "extra_bytes": judgement.extra_bytes,
    }


def _metric(named: MetricName | None, values: dict[str, float | None]) -> dict[str, Any] | None:
    """What a metric of the user's is called, and its values; None when there is none."""
    return None if named is None else {**asdict(named), **values}


def _training(training: FineTuned | None) -> dict[str, Any] | None:
    """How the weights were fine-tuned; None when fxconv did not."""
    return None if training is None else {**asdict(training), "seconds": training.seconds}


def _parity(row: StageParity) -> dict[str, Any]:
    """A row of the ledger; of thousands of faint channels the worst, and how many there are."""
    return {**asdict(replace(row, faint=row.faint[:_MOST_FAINT])), "faint_parts": len(row.faint)}


def _recipe(recipe: ChosenRecipe) -> dict[str, Any]:
    """The steps, their gains, and which layers were changed."""
    scaled, channels = recipe.capped_channels
    plain = asdict(replace(recipe, changes=()))
    del plain["changes"]
    return {
        **plain,
        "equalized": [
            {"layers": one.layers, "readers": one.readers, "channels": len(one.scales), "scaled": one.changed}
            for one in recipe.equalized
        ],
        "absorbed": [
            {"layers": list(one.layers), "readers": list(one.readers), "moved": one.changed} for one in recipe.absorbed
        ],
        "relu6_channels": {"scaled": scaled, "channels": channels},
    }


def preprocessing(how: Preprocessing | None, config: Config) -> dict[str, Any] | None:
    """How pixels became tensors, as the artifact has it, and the same in words; None where nobody says."""
    told = preprocessing_told(how, config.normalize_in_graph)
    return None if how is None or told is None else {**told, "words": how.in_words}


def _artifact(file: WrittenFile) -> dict[str, Any]:
    """What a file is."""
    artifact = file.artifact
    return {
        "path": str(artifact.path) if artifact.path else None,
        "bytes": artifact.size,
        "float_bytes": artifact.float_bytes or None,
        "bytecode_version": artifact.bytecode_version,
        "operators": artifact.operators,
        "int8_macs_share": artifact.int8_macs_share,
        "macs": artifact.macs,
        "sha256": artifact.sha256,
        "golden": {"cases": file.golden.cases, "bytes": len(file.golden.text)},
    }


def _file(file: WrittenFile) -> dict[str, Any]:
    """The same, and what was found out about it."""
    return {
        "target": file.target.name,
        "proven": file.proven,
        **_artifact(file),
        "kernels": file.artifact.kernels,
        "needs": file.artifact.needs,
        "outside_int8": [asdict(one) for one in file.artifact.outside],
        "fidelity": {**asdict(file.fidelity), "agreement": file.fidelity.agreement},
        "to_int8_db": file.to_int8_db,
        "parity": [_parity(row) for row in file.ledger],
        "operations": [asdict(op) for op in file.operations],
        "latency": latency_json(file.latency),
        "runtime": None if file.needs is None else fit_json(file.needs),
        "other_sizes": [asdict(check) for check in file.sizes],
        "other_batches": [asdict(check) for check in file.batches],
    }


def report(conversion: Conversion) -> dict[str, Any]:
    """The whole conversion as plain values."""
    artifact, int8_calls = conversion.artifact, conversion.artifact.int8_calls
    stubs = {name: artifact.calls.get(name, 0) for name in ("aten::quantize_per_tensor", "aten::dequantize")}
    content = {
        **heading(conversion.model, conversion.config),
        "verdict": conversion.verdict,
        "verified": conversion.verified,
        "proven": conversion.proven,
        "fidelity": {**asdict(conversion.fidelity), "agreement": conversion.fidelity.agreement},
        "environment": asdict(conversion.environment),
        "passes": passes(conversion.rewritten),
        "key_map": dict(conversion.rewritten.key_map),
        "tracing": {
            "graphs": list(conversion.rewritten.graphs),
            "in_parts": in_parts(conversion.rewritten) or None,
            "float_leaves": [{"path": leaf.path, "reason": leaf.reason} for leaf in conversion.rewritten.leaves],
            "fixed": [asdict(entry) for entry in conversion.rewritten.fixed],
            "frozen_branches": conversion.frozen_branches,
        },
        "quantization": {
            "mode": conversion.config.mode,
            "int8_ops": {op: n for op, n in int8_calls.items() if op not in stubs},
            "float_ops": conversion.artifact.float_calls,
            "float_islands": [asdict(island) for island in conversion.rewritten.islands],
            "unfolded_norms": [asdict(norm) for norm in conversion.rewritten.unfolded_norms],
            "adjusted_ranges": [asdict(adjustment) for adjustment in conversion.adjusted],
            "weak_ranges": [asdict(one) for one in conversion.uninformative_ranges],
            "quantize_nodes": stubs["aten::quantize_per_tensor"],
            "dequantize_nodes": stubs["aten::dequantize"],
        },
        "calibration": asdict(conversion.calibration),
        "preprocessing": preprocessing(conversion.preprocessing, conversion.config),
        "recipe": _recipe(conversion.recipe),
        "training": _training(conversion.training),
        "audit": {
            "inputs": conversion.audit.inputs,
            "worst_steps": conversion.audit.worst,
            "failed": [op.where for op in conversion.audit.failed],
            "operations": [asdict(op) for op in conversion.audit.operations],
        },
        "layers": [asdict(layer) for layer in conversion.layers],
        "judgement": _judgement(conversion.judgement),
        "parity": [_parity(row) for row in conversion.ledger],
        "artifact": _artifact(conversion.files[0]),
        "artifacts": [_file(file) for file in conversion.files],
        "runtime": None if conversion.runtime is None else fit_json(conversion.runtime),
        "other_sizes": [asdict(check) for check in conversion.sizes],
        "other_batches": [asdict(check) for check in conversion.batches],
        "latency": latency_json(conversion.latency),
        "timings": conversion.timings,
        "warnings": conversion.warnings,
    }
    return {key: plain(value) for key, value in content.items()}


def text(content: dict[str, Any]) -> str:
    """Plain values as indented text."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def dry_run(result: DryRun, only: str | None = None) -> dict[str, Any]:
    """The parts of the report that exist without a conversion; of the passes the one named `only`."""
    return {
        **heading(result.model, result.config),
        "passes": [each for each in passes(result.rewritten) if only in (None, each["name"])],
        "key_map": dict(result.rewritten.key_map),
        "unfolded_norms": [asdict(norm) for norm in result.rewritten.unfolded_norms],
        "parity": [plain(asdict(result.parity))],
    }


def sensitivity(result: Sensitivity) -> dict[str, Any]:
    """The ranking of layers as plain values."""
    content = {
        **heading(result.model, result.config),
        "calibration": asdict(result.calibration),
        "measured_on": {"source": result.source, "images": result.images, "held_out": result.is_unseen},
        "all_int8": {"sqnr_db": result.together[0], "top1_agreement": result.together[1]},
        "metric": _metric(result.metric, {"float": result.float_metric, "int8": result.int8_metric}),
        "recipe": result.steps,
        "layers": [{**asdict(layer), "float_extra_bytes": layer.float_extra_bytes} for layer in result.layers],
        "warnings": result.warnings,
    }
    return {key: plain(value) for key, value in content.items()}


def study(result: Study) -> dict[str, Any]:
    """A study of calibration data as plain values."""
    content = {
        **heading(result.model, result.config),
        "judged_on": {"source": result.judged_on, "images": result.images},
        "metric": _metric(result.metric, {"float": result.float_metric}),
        "summaries": [asdict(one) for one in result.summaries],
        "trials": [asdict(one) for one in result.trials],
        "warnings": result.warnings,
    }
    return {key: plain(value) for key, value in content.items()}
