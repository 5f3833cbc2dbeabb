"""Any set of cases × methods × seeds measured into one table: ``conceptnet-ml bench``.

The same from Python::

    from conceptnet_ml.bench.cases import read_suite
    from conceptnet_ml.bench.report import write_report
    from conceptnet_ml.bench.runner import run_bench

    results = run_bench(read_suite(None, {"pictures": "photos"}), "runs/bench")
    write_report(results, Path("runs/bench"))

A *case* is a set of settings (data and a trap), a *method* is ``ordinary``, ``learned``, ``forced-round`` or a baseline
by name, a *cell* is one method on one case with one seed. All methods of a case and seed share one run folder: they
start from the same ordinary network, and nothing is computed twice.

    cases      read_suite, Suite, Case, BenchTarget: what is measured, from a TOML file
    matrix     MatrixTable, MatrixRule: crossed cases, every trap × exceptions × data × network
    cells      CellStore: where finished cells are kept
    places     ProcessPlace, CellProcess, ThisMachine, LocalProcess, default_jobs, threads_for: where they start
    ray_cluster   RayCluster, cluster_named: the machines of a Ray cluster as such a place
    runner     run_bench, check_suite, Worker: which cells are measured, by which processes
    worker     the process that measures the cells of one case and seed
    measure    measure_cell: the network of a method and its figures
    intervals  summarize, overlap, spread: means over seeds with their ranges or intervals
    results    collect_results, join_results, values_of, rooms, gaps: all cells, recovery, targets, in one record
    report     write_report: the record as Markdown, JSON and a plot
    plots      draw_results
    plan       plan_bench: what is left to measure, and how long it takes
    origin     commit: what a figure was measured with
"""
