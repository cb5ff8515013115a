"""The base of every section of an experiment file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A part of the experiment file: no unknown keys, no change once read, no silent conversion.

    A key that was renamed has its former name as serialization alias. Files may use either name. Dumps have the former
    one, so that run keys, sweep.json and MLflow params stay what they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, content: object) -> object:
        if not isinstance(content, dict):
            return content
        for name, field in cls.model_fields.items():
            former = field.serialization_alias
            if former is not None and former in content:
                if name in content:
                    raise ValueError(f"{name} and {former} are the new and the former name of one key; keep {name}")
                content = {name if key == former else key: value for key, value in content.items()}
        return content
