"""Gates: a version is published into a model, or deployed, only when an evaluation has shown what its gate asks.

Verdicts are rows of this room, written by the room of evaluations; nobody else can write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, or_

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.errors import Fault
from qianfan.contract.times import china
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.datasets import operations as datasets
from qianfan_platform.store import Tx

from . import presets
from .tables import Model, ModelGate, ModelVerdict, ModelVersion

RULE: Final = "better"
METRIC: Final = "accuracy"
CONFIDENCE: Final = 0.95
FEWEST: Final = 20
MOST_READ: Final = 200  # verdicts that are looked at for one decision, the newest
At = Literal["publish", "deploy"]


@dataclass(frozen=True)
class Weights:
    """What a verdict is about. run_id 0: weights that came from elsewhere, known by their version alone."""

    run_id: int
    step: int | None
    version_id: int | None = None

    @classmethod
    def of(cls, row: ModelVersion) -> Weights:
        return cls(row.run_id, row.step, row.id)

    def same(self) -> ColumnElement[bool]:
        """The condition on verdicts: of this version, or of one that is made of the same weights."""
        found: list[ColumnElement[bool]] = []
        if self.version_id is not None:
            found.append(ModelVerdict.version_id == self.version_id)
        if self.run_id:
            found.append(
                and_(ModelVerdict.run_id == self.run_id, ModelVerdict.step.is_not_distinct_from(self.step))
            )
        return or_(*found)


async def put(
    catalogue: Catalogue, tx: Tx, owner: int, model_ident: Id, spec: Mapping[str, Any]
) -> ModelGate:
    """Set the gate of a model, in place of the one it has."""
    model = await _model(tx, owner, model_ident)
    before = await of_model(tx, model)
    if before is not None:
        await tx.delete(before)
    values = await asked(catalogue, tx, owner, spec)
    at = sorted(set(spec.get("at", ["deploy"])))
    return await tx.add(ModelGate(owner_id=owner, model_id=model.id, at=at, **values))


async def of_model(tx: Tx, model: Model) -> ModelGate | None:
    return await tx.maybe(ModelGate, ModelGate.model_id == model.id)


async def remove(tx: Tx, owner: int, model_ident: Id) -> None:
    """Take the gate of a model away. Raises Fault(NOT_FOUND) when it has none."""
    model = await _model(tx, owner, model_ident)
    gate = await of_model(tx, model)
    if gate is None:
        raise Fault(errors.NOT_FOUND, f"model {model.id} ({model.name}) has no gate", "")
    await tx.delete(gate)


async def _model(tx: Tx, owner: int, ident: Id) -> Model:
    return await tx.one(Model, ident, owner=owner, noun="model")


async def asked(catalogue: Catalogue, tx: Tx, owner: int, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A condition as gates and verdicts keep it. Raises Fault for a baseline or a dataset that is unknown."""
    dataset = None
    if "datasetId" in spec:
        dataset = (await datasets.get(tx, owner, spec["datasetId"])).id
    return {
        "baseline_id": await baseline(catalogue, tx, owner, spec["baseline"]),
        "rule": spec.get("rule", RULE),
        "metric": spec.get("metric", METRIC),
        "margin": float(spec.get("margin", 0.0)),
        "confidence": float(spec.get("confidence", CONFIDENCE)),
        "fewest": int(spec.get("fewest", FEWEST)),
        "dataset_id": dataset,
    }


async def baseline(catalogue: Catalogue, tx: Tx, owner: int, ident: Id) -> int:
    """The number of the version that is compared with: a preset by id or name, or one of the account's own."""
    preset = presets.find(catalogue, ident) or presets.named(catalogue, str(ident))
    return (
        preset.version_id
        if preset
        else (await tx.one(ModelVersion, ident, owner=owner, noun="model version")).id
    )


async def require(
    catalogue: Catalogue,
    tx: Tx,
    model: Model,
    weights: Weights,
    at: At,
    spec: Mapping[str, Any] | None = None,
) -> None:
    """Pass what the gate of the model, and the one in the call, let pass. Raises Fault(GATE_CLOSED) with figures."""
    gate = await of_model(tx, model)
    wanted = []
    if gate is not None and at in gate.at:
        wanted.append({name: getattr(gate, name) for name in _CONDITION})
    if spec is not None:
        wanted.append(await asked(catalogue, tx, model.owner_id, spec))
    for condition in wanted:
        await _hold(catalogue, tx, model, weights, at, condition)


async def refuse_imports(tx: Tx, model: Model) -> None:
    """Raise Fault(GATE_CLOSED) where a gate stands before publishing."""
    gate = await of_model(tx, model)
    if gate is not None and "publish" in gate.at:
        raise Fault(
            errors.GATE_CLOSED,
            f"nothing can be imported into model {model.id} ({model.name}): its gate stands before publishing, "
            "and weights from elsewhere hold no verdict",
            "import into a model of its own, or let the gate stand before deploying",
        )


_CONDITION: Final = ("baseline_id", "rule", "metric", "margin", "confidence", "fewest", "dataset_id")


async def _hold(
    catalogue: Catalogue, tx: Tx, model: Model, weights: Weights, at: At, condition: dict[str, Any]
) -> None:
    if weights.version_id is not None and weights.version_id == condition["baseline_id"]:
        return  # what others are measured by
    found = await deciding(tx, model.owner_id, weights, condition)
    if found is not None and found.passed and found.n >= condition["fewest"]:
        return
    name = await _name(catalogue, tx, condition["baseline_id"])
    needs = (
        f"{condition['metric']} must be {condition['rule']} than that of {name}, margin {condition['margin']:g}, "
        f"confidence {condition['confidence']:.4g}, at least {condition['fewest']} rows"
    )
    what = "version" if weights.version_id is not None else "training run"
    ident = weights.version_id if weights.version_id is not None else weights.run_id
    if found is None:
        raise Fault(
            errors.GATE_CLOSED,
            f"{what} {ident} may not be {_DONE[at]} model {model.id} ({model.name}): {needs}, "
            "and no finished evaluation says so",
            f"evaluate the version and {name} in one evaluation"
            + (f" on dataset {condition['dataset_id']}" if condition["dataset_id"] else "")
            + ", then try again",
        )
    few = f"{found.n} rows are too few; " if found.passed else ""
    raise Fault(
        errors.GATE_CLOSED,
        f"{what} {ident} may not be {_DONE[at]} model {model.id} ({model.name}): {needs}; "
        f"evaluation {found.evaluation_id} says: {few}{found.reason}",
        "train on more or better data, or evaluate on more rows",
    )


_DONE: Final[dict[At, str]] = {"publish": "published into", "deploy": "deployed from"}


async def deciding(tx: Tx, owner: int, weights: Weights, condition: Mapping[str, Any]) -> ModelVerdict | None:
    """The newest verdict on these weights from which the condition follows, or its contrary; None without one.

    A yes to a stricter question is a yes to this one, a no to a milder question is a no to this one; the other
    way round nothing follows."""
    where = [
        weights.same(),
        ModelVerdict.baseline_id == condition["baseline_id"],
        ModelVerdict.rule == condition["rule"],
        ModelVerdict.metric == condition["metric"],
    ]
    if condition["dataset_id"] is not None:
        where.append(ModelVerdict.dataset_id == condition["dataset_id"])
    rows = await tx.find(ModelVerdict, *where, owner=owner, order_by=ModelVerdict.id.desc(), limit=MOST_READ)
    return next((row for row in rows if decides(row, condition)), None)


def decides(row: ModelVerdict, condition: Mapping[str, Any]) -> bool:
    """Whether an answer to the condition follows from a verdict with the same rule."""
    sign = 1 if row.rule == "better" else -1  # a larger margin is stricter for one rule, milder for the other
    stricter = sign * (row.margin - float(condition["margin"]))
    surer = row.confidence - float(condition["confidence"])
    if row.passed:
        return stricter >= 0 and surer >= 0
    return stricter <= 0 and surer <= 0 and row.fewest <= int(condition["fewest"])


async def verdicts(tx: Tx, row: ModelVersion, limit: int = 20) -> list[dict[str, Any]]:
    """What evaluations have found of a version, newest first."""
    found = await tx.find(
        ModelVerdict,
        Weights.of(row).same(),
        owner=row.owner_id,
        order_by=ModelVerdict.id.desc(),
        limit=limit,
    )
    return [verdict_view(one) for one in found]


def verdict_view(row: ModelVerdict) -> dict[str, Any]:
    """A verdict as calls show it."""
    return {
        "verdictId": row.public_id,
        "evaluationId": row.evaluation_id,
        "datasetId": row.dataset_id,
        "modelVersionId": row.version_id,
        "baselineId": row.baseline_id,
        "baselineName": row.baseline_name,
        "rule": row.rule,
        "metric": row.metric,
        "margin": row.margin,
        "confidence": row.confidence,
        "fewest": row.fewest,
        "passed": row.passed,
        "reason": row.reason,
        "n": row.n,
        **row.figures,
        "createTime": china(row.created_at),
    }


async def gate_view(catalogue: Catalogue, tx: Tx, gate: ModelGate) -> dict[str, Any]:
    """A gate as calls show it."""
    return {
        "gateId": gate.public_id,
        "modelId": gate.model_id,
        "at": gate.at,
        "baselineId": gate.baseline_id,
        "baselineName": await _name(catalogue, tx, gate.baseline_id),
        "rule": gate.rule,
        "metric": gate.metric,
        "margin": gate.margin,
        "confidence": gate.confidence,
        "fewest": gate.fewest,
        "datasetId": gate.dataset_id,
        "createTime": china(gate.created_at),
    }


async def _name(catalogue: Catalogue, tx: Tx, version_id: int) -> str:
    """`preset`, or `model version 3`, of a version."""
    preset = presets.find(catalogue, version_id)
    if preset is not None:
        return preset.name
    row = await tx.maybe(ModelVersion, ModelVersion.id == version_id)
    model = row and await tx.maybe(Model, Model.id == row.model_id)
    return f"{model.name} version {row.version}" if row and model else f"version {version_id} (deleted)"
