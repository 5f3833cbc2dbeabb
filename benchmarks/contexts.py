"""What a run learns in, without a run that is kept: for benchmarks that call the steps themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conceptnet_ml.checks import Session, check_plan
from conceptnet_ml.config.sources import resolve_settings
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.run_folder import Run


@contextmanager
def passing_context(assignments: Sequence[str]) -> Iterator[Context]:
    """A context of the settings that these assignments make, as of ``--set``; its folder is gone afterwards."""
    settings, session = resolve_settings(assignments=assignments).settings, Session()
    checked = check_plan(settings, session)
    plain = settings.model_dump(mode="json")
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", plain, {}, {}, "0") as run:
        where = checked.device, checked.dtype
        yield Context(settings, session.plugins, checked.data, run, session.progress, session.stopper, *where)
