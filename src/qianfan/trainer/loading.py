"""The first action: the dataset is brought to the platform and released."""

from __future__ import annotations

from typing import Any, ClassVar

from qianfan.contract.enums import DataTemplateType, TrainDatasetSourceType, TrainDatasetType
from qianfan.dataset import state as saved_state
from qianfan.dataset.sources import QianfanDataSource
from qianfan.errors import InvalidArgumentError
from qianfan.trainer.steps import Fields, Step
from qianfan.trainer.trainsets import Trainset, trainsets

CONVERSATION = DataTemplateType.NonSortedConversation
_WHOLE = (CONVERSATION, DataTemplateType.PromptChosenRejected)  # nothing to learn from a row without answers


@saved_state.saved
class LoadDataSetAction(Step):
    """Bring datasets to the platform if they are not there, and release them.

    Output: `{"datasets": [{"id", "type": 1, "name"}]}`.

    dataset: a `Dataset`, the id of one, a BOS path, a `DatasetConfig` or a list of those; rows of this machine
    are saved to the platform first, of BOS nothing is asked: an object that `Dataset.load(bos_source_args=…)` read
    is told as its path, unless its rows were changed. dataset_template: what it must be.
    generation: "v2" gives the shape of the V2 interface, `{"sourceType", "versions": [{"versionId"}]}`."""

    kind: ClassVar[str] = "load-dataset"
    dataset: Any = None

    def __init__(
        self,
        dataset: Any = None,
        dataset_template: DataTemplateType | None = None,
        generation: str = "v1",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if generation not in ("v1", "v2"):
            raise InvalidArgumentError(f"there is no generation {generation!r}", advice="it is v1 or v2")
        self.dataset = dataset
        try:
            self.dataset_template = None if dataset_template is None else DataTemplateType(dataset_template)
        except ValueError as error:
            raise InvalidArgumentError(str(error), advice="give a member of DataTemplateType") from None
        self.generation = generation
        self._imported: dict[int, QianfanDataSource] = {}  # where local rows were brought, by place
        config = dataset if getattr(dataset, "kind", "") == "dataset-config" else None
        self._eval_split_ratio: int | None = getattr(config, "eval_split_ratio", None)
        self._corpus: Fields | None = config.corpus() if config is not None else None
        if config is not None or isinstance(dataset, (list, tuple, str, int)):
            self.dataset = trainsets(dataset)
        for one in [part.dataset for part in self.dataset] if isinstance(self.dataset, list) else [dataset]:
            source = getattr(one, "inner_data_source_cache", None)
            self._check_template(getattr(source, "template_type", None))

    def _parts(self) -> list[Trainset]:
        return self.dataset if isinstance(self.dataset, list) else trainsets(self.dataset)

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        found = []
        for place, part in enumerate(self._parts()):
            source = None if part.bos_uri else self._on_platform(place, part.dataset, options, again)
            if source is not None:
                source.release_dataset(stop=self._stop, **options)
                if not source.is_released:
                    raise InvalidArgumentError("dataset must be released", advice="release it in the console")
            found.append((part, source))
        output: Fields = {**input, "datasets": (self._v2 if self.generation == "v2" else self._v1)(found)}
        if self._eval_split_ratio is not None and self.generation != "v2":
            output["eval_split_ratio"] = self._eval_split_ratio
        if self._corpus is not None:
            output["corpus_config"] = self._corpus
        return output

    def _on_platform(self, place: int, dataset: Any, options: Fields, again: bool) -> QianfanDataSource:
        source = getattr(dataset, "inner_data_source_cache", None)
        if isinstance(source, QianfanDataSource) and not dataset.is_changed:
            source.refresh(**options)
            self._check_template(source.template_type)
            return source
        if again and place in self._imported:
            self._imported[place].wait_for_import(self._stop, **options)
            return self._imported[place]
        template = self.dataset_template or CONVERSATION

        def brought(target: QianfanDataSource) -> None:
            self._imported[place] = target
            self._note()

        return dataset.to_platform(  # type: ignore[no-any-return]
            create_args={"template_type": template},
            only_annotated=template in _WHOLE,
            on_import=brought,
            stop=self._stop,
            **options,
        )

    def _check_template(self, template: DataTemplateType | None) -> None:
        wanted = self.dataset_template
        if wanted is not None and template is not None and template is not wanted:
            raise InvalidArgumentError(
                f"dataset must be `{wanted.name}` template, this one is `{template.name}`",
                advice="create the dataset with that template and import the rows again",
            )

    @staticmethod
    def _v1(found: list[tuple[Trainset, QianfanDataSource | None]]) -> list[Fields]:
        items: list[Fields] = []
        for part, source in found:
            rate = {} if part.sampling_rate is None else {"samplingRate": part.sampling_rate}
            if source is None:
                items.append({"type": TrainDatasetType.PrivateBos.value, "bosPath": part.bos_uri, **rate})
                continue
            number = source.old_dataset_id if source.old_dataset_id is not None else source.id
            items.append({"id": number, "type": TrainDatasetType.Platform.value, "name": source.name, **rate})
        return items

    def _v2(self, found: list[tuple[Trainset, QianfanDataSource | None]]) -> Fields:
        versions: list[Fields] = []
        for part, source in found:
            rate = {} if part.sampling_rate is None else {"samplingRate": part.sampling_rate}
            if source is None:
                versions.append({"versionBosUri": part.bos_uri, **rate})
            else:
                versions.append({"versionId": source.info.get("datasetPK", source.id), **rate})
        of_bos = "versionBosUri" in versions[0]
        kind = TrainDatasetSourceType.PrivateBos if of_bos else TrainDatasetSourceType.Platform
        split = {} if self._eval_split_ratio is None else {"splitRatio": self._eval_split_ratio}
        return {"sourceType": kind.value, "versions": versions, **split}

    def to_state(self) -> Fields:
        return {
            **super().to_state(),
            "dataset": self._saved_dataset(),
            "dataset_template": self.dataset_template,
            "generation": self.generation,
            "imported": {str(place): source for place, source in self._imported.items()},
            "eval_split_ratio": self._eval_split_ratio,
            "corpus": self._corpus,
        }

    def _saved_dataset(self) -> Any:
        """The dataset as it is saved: where its rows are, once they are on the platform, and not the rows."""
        from qianfan.dataset import Dataset

        if self.result is None or not self._imported:
            return self.dataset
        parts = list(self._parts())
        for place, source in self._imported.items():
            parts[place] = Trainset(Dataset(source=source), sampling_rate=parts[place].sampling_rate)
        return parts if isinstance(self.dataset, list) else parts[0].dataset

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        imported = state.pop("imported", None) or {}
        split, corpus = state.pop("eval_split_ratio", None), state.pop("corpus", None)
        action = super().from_state(state)
        action._imported = {int(place): source for place, source in imported.items()}
        action._eval_split_ratio, action._corpus = split, corpus
        return action
