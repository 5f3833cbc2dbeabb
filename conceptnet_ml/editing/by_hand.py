"""Decisions that a user changed by hand in a run's graph.json, as rounds to keep and to undo."""

from __future__ import annotations

from conceptnet_ml.config.overrides import Override, parse_override, parse_overrides
from conceptnet_ml.errors import ConceptNetError, DataError, GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import DecidedNode as JudgedNode
from conceptnet_ml.storage.run_folder import Run


def decisions_by_hand(run: Run) -> tuple[list[str], list[str]]:
    """What was changed by hand in the decisions of a run's graph.json, as words to keep and to undo.

    A feature, generalized feature or variant whose decision is now ``kept`` and was not: its round is to be kept, in
    the representation that stands at the node; one that was kept and is no longer: its round is to be undone. One
    changed node speaks for its whole round. The run's summary says what was decided.

    Raises:
        DataError: The graph cannot be read.
        GraphError: It breaks an invariant.
        SettingsError: Two nodes of a round were changed to different representations.
    """
    if not (run.path / "graph.json").exists() or not (run.path / "summary.json").exists():
        return [], []
    path = run.path / "graph.json"
    try:
        graph = ConceptGraph.read(run.path)
        if problems := graph.check():
            raise GraphError(f"{path}: {problems[0]}")
    except ConceptNetError as error:
        mend = f"Mend it; or delete it, and learn --resume {run.path} writes it anew."
        raise type(error)(error.message, mend) from error
    decided = {entry["name"]: entry["decision"] for entry in run.summary()["rounds"]}
    labels = {f"{who} in {name}": name for name in decided for who in (*graph.classes, "what is exchanged")}
    found: set[Override] = set()
    for node in graph.nodes():
        name = labels.get(node.label)
        if name is None or node.kind not in ("feature", "generalized", "variant"):
            continue
        word = _edited(node, name, decided[name], str(path))  # type: ignore[arg-type]
        found |= {word} if word is not None else set()
    keep = sorted(word.text for word in found if word.keep)
    undo = sorted(word.text for word in found if not word.keep)
    parse_overrides(keep, undo)
    return keep, undo


def _edited(node: JudgedNode, name: str, decided: str, path: str) -> Override | None:
    if node.decision is None:
        raise DataError(f"{path}: {node.kind} '{node.label}' has no decision", "Write kept, undone or leaf.")
    if (node.decision == "kept") == (decided == "kept"):
        return None
    if node.decision == "kept" and node.representation is not None:
        return parse_override(f"{name}/{node.representation}", True)
    return parse_override(name, node.decision == "kept")
