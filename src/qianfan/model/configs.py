"""What a deployment is told: `DeployConfig`; and what its kind of configuration has in common."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from qianfan.contract.enums import DeployPoolType
from qianfan.dataset.state import saved
from qianfan.errors import InvalidArgumentError, need
from qianfan.model.consts import ServiceType
from qianfan.utils.logging import logger


class Config(BaseModel):
    """Checks values at construction; a name it does not know is logged with the name that was meant."""

    kind: ClassVar[str] = "config"
    other_names: ClassVar[dict[str, str]] = {}

    def __init__(self, **data: Any) -> None:
        name = type(self).__name__
        for other, known in self.other_names.items():
            if other in data:
                value = data.pop(other)
                if data.setdefault(known, value) != value:
                    raise InvalidArgumentError(
                        f"{name} got {known}={data[known]!r} and {other}={value!r}",
                        advice=f"they are one and the same; give {known}",
                    )
        fields = type(self).model_fields
        for unknown in [key for key in data if key not in fields]:
            near = difflib.get_close_matches(unknown, [*fields, *self.other_names], 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(fields)}"
            logger.warning("%s has no field %r, so it is ignored%s", name, unknown, meant)
            del data[unknown]
        try:
            super().__init__(**data)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            place = ".".join(map(str, wrong["loc"])) or "a value"
            reason = wrong["msg"].removeprefix("Value error, ")
            raise InvalidArgumentError(
                f"{name}.{place} cannot be {wrong.get('input')!r}: {reason}",
                advice=f"mend {place} and try again",
            ) from None

    @classmethod
    def of(cls, given: Any) -> Any:
        """A configuration of what was given: one, None, a dict of its fields, or the path of a file.

        Raises InvalidArgumentError for anything else."""
        if given is None or isinstance(given, cls):
            return given
        if isinstance(given, dict):
            return cls(**given)
        if isinstance(given, (str, Path)):
            return cls.load(given)
        raise InvalidArgumentError(
            f"{given!r} is no {cls.__name__}",
            advice=f"give {cls.__name__}(…), a dict or a file of its fields",
        )

    def to_state(self) -> dict[str, Any]:
        """The fields as plain values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """A configuration of a saved state."""
        return cls(**state)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """Read a configuration from a .yaml or .json file.

        Raises FileNotFoundError, and InvalidArgumentError for another suffix or other content."""
        file = Path(path)
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            try:
                values = json.loads(text)
            except ValueError as error:
                raise InvalidArgumentError(f"{file.name} is not JSON: {error}", advice="repair it") from error
        elif file.suffix in (".yaml", ".yml"):
            yaml = need(
                "yaml", why="to read yaml files; install PyYAML, or write the file as .json", extra="dataset"
            )
            values = yaml.safe_load(text)
        else:
            raise InvalidArgumentError(
                f"{file.name} is neither .yaml nor .json", advice="name it by its format"
            )
        if not isinstance(values, dict):
            raise InvalidArgumentError(
                f"{file.name} holds no table of fields", advice="write `epoch: 1`, one a line"
            )
        return cls(**values)


@saved
class DeployConfig(Config):
    """How to deploy. endpoint_prefix: the endpoint's name, by default one made of the model's ids. extras:
    further members of the request, spelled as the platform does.

    The last five are of the later interface of the cloud; where one is set, the service is made through it.
    endpoint_suffix: the endpoint's name there. qps: requests a second. resource_type: GPU-I-2, GPU-I-4 or
    CPU-I-2. months or hours: how long it is paid for; by default an hour."""

    kind: ClassVar[str] = "deploy-config"

    name: str = ""
    endpoint_prefix: str = ""
    description: str = ""
    replicas: int = Field(default=1, ge=1)
    pool_type: DeployPoolType = DeployPoolType.PrivateResource
    service_type: ServiceType = ServiceType.Chat
    extras: Any = None
    endpoint_suffix: str | None = None
    qps: float | None = Field(default=None, gt=0)
    resource_type: str | None = None
    months: int | None = Field(default=None, ge=1)
    hours: int | None = Field(default=None, ge=1)

    @field_validator("extras")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, dict):
            raise ValueError("extras are a dict of further members of the request")
        return value

    @model_validator(mode="after")
    def _one_length(self) -> DeployConfig:
        if self.months is not None and self.hours is not None:
            raise ValueError("a service is paid for by months or by hours, not both")
        return self

    @property
    def speaks_v2(self) -> bool:
        """Whether the service is made through the V2 interface."""
        later = (self.endpoint_suffix, self.qps, self.resource_type, self.months, self.hours)
        return any(value is not None for value in later)

    def v2_terms(self) -> dict[str, Any]:
        """Resources and payment in the words of the V2 interface."""
        length, unit = (self.months, "Month") if self.months else (self.hours or 1, "Hour")
        resources: dict[str, Any] = {"type": self.resource_type or "GPU-I-2", "replicasCount": self.replicas}
        if self.qps is not None:
            resources["qps"] = self.qps
        reservation = {"reservationLength": length, "reservationTimeUnit": unit}
        return {
            "resource_config": resources,
            "billing": {"paymentTiming": "Prepaid", "reservation": reservation},
        }
