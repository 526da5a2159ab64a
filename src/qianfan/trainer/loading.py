"""The first action: the dataset is brought to the platform and released."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.contract.enums import DataTemplateType, TrainDatasetType
from qianfan.dataset import state as saved_state
from qianfan.dataset.sources import QianfanDataSource
from qianfan.errors import InvalidArgumentError
from qianfan.trainer.steps import Fields, Step

if TYPE_CHECKING:
    from qianfan.dataset import Dataset

CONVERSATION = DataTemplateType.NonSortedConversation


@saved_state.saved
class LoadDataSetAction(Step):
    """Bring a dataset to the platform if it is not there, and release it.

    Output: `{"datasets": [{"id", "type": 1, "name"}]}`.

    dataset: a `Dataset`; rows of this machine are saved to the platform first. dataset_template: what it must
    be. generation: "v2" gives the shape of the V2 interface."""

    kind: ClassVar[str] = "load-dataset"
    dataset: Dataset | None = None

    def __init__(
        self,
        dataset: Dataset | None = None,
        dataset_template: DataTemplateType | None = None,
        generation: str = "v1",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.dataset_template = DataTemplateType(dataset_template) if dataset_template is not None else None
        self.generation = generation
        self._imported: QianfanDataSource | None = None  # where local rows were brought

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        source = self._on_platform(options, again)
        source.release_dataset(stop=self._stop, **options)
        if not source.is_released:
            raise InvalidArgumentError("dataset must be released", advice="release it in the console")
        return {**input, "datasets": self._output(source)}

    def _on_platform(self, options: Fields, again: bool) -> QianfanDataSource:
        if self.dataset is None:
            raise InvalidArgumentError("dataset must be set", advice="give dataset=Dataset.load(…)")
        source = getattr(self.dataset, "inner_data_source_cache", None)
        if not hasattr(self.dataset, "to_platform"):
            raise InvalidArgumentError(
                f"invalid dataset: {type(self.dataset).__name__}", advice="give a qianfan.dataset.Dataset"
            )
        if isinstance(source, QianfanDataSource) and not self.dataset.is_changed:
            source.refresh(**options)
            self._check_template(source.template_type)
            return source
        if again and self._imported is not None:
            self._imported.wait_for_import(self._stop, **options)
            return self._imported
        template = self.dataset_template or CONVERSATION
        return self.dataset.to_platform(
            create_args={"template_type": template},
            only_annotated=template is CONVERSATION,
            on_import=lambda target: setattr(self, "_imported", target),
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

    def _output(self, source: QianfanDataSource) -> Any:
        if self.generation == "v2":
            return {
                "sourceType": "Platform",
                "versions": [{"versionId": source.info.get("datasetPK", source.id)}],
            }
        number = source.old_dataset_id if source.old_dataset_id is not None else source.id
        return [{"id": number, "type": TrainDatasetType.Platform.value, "name": source.name}]

    def to_state(self) -> Fields:
        return {
            **super().to_state(),
            "dataset": self.dataset,
            "dataset_template": self.dataset_template,
            "generation": self.generation,
            "imported": self._imported,
        }

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        imported = state.pop("imported", None)
        action = super().from_state(state)
        action._imported = imported
        return action
