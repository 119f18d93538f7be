"""Charts of a training run, by epoch."""

from collections.abc import Sequence

from apps.core.charts import Axis, Chart, ChartSeries, line_chart
from apps.training.models import TrainingEpoch, TrainingRun

# With more ranks, the chart shows the fastest, the median and the slowest rank only.
_MOST_RANKS = 6


def training_curves(run: TrainingRun) -> list[Chart]:
    """Charts of loss, AUROC, learning rate, throughput, waiting for data, and step times of the ranks."""
    rows = list(run.epoch_rows.all())
    return [
        _curve(run, rows, "Training loss", "loss", "loss"),
        _curve(run, rows, "Mean AUROC on validation films", "AUROC", "validation_auroc"),
        _curve(run, rows, "Learning rate", "learning rate", "lr"),
        _curve(run, rows, "Throughput", "images/s", "images_per_s", low=0.0),
        _curve(run, rows, "Share of time spent waiting for data", "share", "data_wait", low=0.0),
        _step_times(run, rows),
    ]


def _curve(
    run: TrainingRun, rows: Sequence[TrainingEpoch], title: str, unit: str, field: str, low: float | None = None
) -> Chart:
    points = [(float(row.epoch), getattr(row, field)) for row in rows]
    return line_chart(title, [ChartSeries(title, points)], x=_epochs(run), y=Axis(unit, low))


def _epochs(run: TrainingRun) -> Axis:
    return Axis("epoch", 1.0, float(max(run.epochs, 2)), integers_only=True)


def _step_times(run: TrainingRun, rows: Sequence[TrainingEpoch]) -> Chart:
    medians = [
        (float(row.epoch), {each["rank"]: each["p50"] * 1000 for each in row.ranks if each["p50"]}) for row in rows
    ]
    ranks = sorted({rank for _, by_rank in medians for rank in by_rank})
    if len(ranks) <= _MOST_RANKS:
        series = [ChartSeries(f"rank {rank}", [(epoch, times.get(rank)) for epoch, times in medians]) for rank in ranks]
    else:
        ordered = [(epoch, sorted(times.values())) for epoch, times in medians if times]
        series = [
            ChartSeries("fastest rank", [(epoch, times[0]) for epoch, times in ordered]),
            ChartSeries("median rank", [(epoch, times[len(times) // 2]) for epoch, times in ordered]),
            ChartSeries("slowest rank", [(epoch, times[-1]) for epoch, times in ordered]),
        ]
    return line_chart("Step time of each rank (median)", series, x=_epochs(run), y=Axis("ms", 0.0))
