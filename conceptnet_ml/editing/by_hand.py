"""Decisions that a user changed by hand in a run's graph.json, as rounds to keep and to undo."""

from __future__ import annotations

from conceptnet_ml.config.overrides import Override, parse_override, parse_overrides
from conceptnet_ml.editing.plan import EXCHANGED
from conceptnet_ml.errors import ConceptNetError, DataError, GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import DecidedNode
from conceptnet_ml.storage.run_folder import Run


def decisions_by_hand(run: Run) -> tuple[list[str], list[str]]:
    """The names of the rounds to keep and to undo after changes by hand in a run's graph.json.

    A round is kept where the decision of a feature, generalized feature or variant is ``kept`` now and was not, in the
    representation named at that node; it is undone where it was ``kept`` and is not. One changed node decides for its
    round. The decisions before are those of the run's summary.

    Raises:
        DataError, GraphError: The graph cannot be read, or breaks an invariant.
        SettingsError: Two nodes of a round were changed to different representations.
    """
    path = run.path / "graph.json"
    if not path.exists() or not (run.path / "summary.json").exists():
        return [], []
    try:
        graph = ConceptGraph.read(run.path)
        if problems := graph.check():
            raise GraphError(f"{path}: {problems[0]}")
    except ConceptNetError as error:
        mend = f"Mend it; or delete it, and learn --resume {run.path} writes it anew."
        raise type(error)(error.message, mend) from error
    decided = {entry["name"]: entry["decision"] for entry in run.summary()["rounds"]}
    starts = (EXCHANGED, *(f"{name} in " for name in graph.classes))
    rounds = {f"{start}{name}": name for name in decided for start in starts}
    found: set[Override] = set()
    for node in graph.nodes():
        name = rounds.get(node.label)
        if name is not None and isinstance(node, DecidedNode):
            found |= _changed(node, name, decided[name], str(path))
    keep = sorted(one.text for one in found if one.keep)
    undo = sorted(one.text for one in found if not one.keep)
    parse_overrides(keep, undo)
    return keep, undo


def _changed(node: DecidedNode, name: str, decided: str, path: str) -> set[Override]:
    if node.decision is None:
        raise DataError(f"{path}: {node.kind} '{node.label}' has no decision", "Write kept, undone or leaf.")
    keep = node.decision == "kept"
    if keep == (decided == "kept"):
        return set()
    suffix = f"/{node.representation}" if keep and node.representation is not None else ""
    return {parse_override(f"{name}{suffix}", keep)}
