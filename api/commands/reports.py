"""The reports of `dropzero audit`, `load` and `race` as JSON, for programs that run them."""

from collections.abc import Sequence
from typing import Any

from api.client.load import PERCENTILES, LoadReport, percentile
from api.client.race import RaceReport
from api.drops.audit import AuditLine

Document = dict[str, Any]


def audit_document(lines: Sequence[AuditLine]) -> Document:
    return {
        "balanced": all(line.balanced for line in lines),
        "products": [
            {
                "productId": str(line.product_id),
                "name": line.name,
                "stocked": line.stocked,
                "stock": line.stock,
                "held": line.held,
                "sold": line.sold,
                "balanced": line.balanced,
                "objection": line.objection,
            }
            for line in lines
        ],
    }


def load_document(report: LoadReport) -> Document:
    """Times are in milliseconds."""
    return {
        "exact": report.objection is None,
        "objection": report.objection,
        "caution": report.caution,
        "productId": report.product_id,
        "regions": report.regions,
        "purchases": report.load.purchases,
        "buyers": report.load.buyers,
        "units": report.load.units,
        "outcomes": dict(report.outcomes),
        "errors": dict(report.errors),
        "resent": report.resent,
        "finalStock": report.final_stock,
        "purchasesPerSecond": round(report.purchases_per_second, 1),
        "latencyMs": _percentiles(report.latencies),
        "ownLatenessMs": _percentiles(report.late),
        "attempts": _mean_and_most(report.attempts),
    }


def race_document(report: RaceReport) -> Document:
    """Times are in milliseconds."""
    return {
        "exact": not report.objections,
        "objections": report.objections,
        "rounds": len(report.rounds),
        "regions": [_region(report, region) for region in report.regions],
    }


def _region(report: RaceReport, region: str) -> Document:
    finishes = report.finishes(region)
    statuses = [finish.status for finish in finishes]
    return {
        "name": region,
        "confirmed": statuses.count("CONFIRMED"),
        "soldOut": statuses.count("SOLD_OUT"),
        "errors": sum(status not in ("CONFIRMED", "SOLD_OUT") for status in statuses),
        "busy": sum(finish.busy for finish in finishes),
        "resent": sum(finish.lost for finish in finishes),
        "attempts": _mean_and_most([finish.attempts for finish in finishes]),
        "confirmedMs": _percentiles(report.latencies(region, "CONFIRMED")),
        "soldOutMs": _percentiles(report.latencies(region, "SOLD_OUT")),
    }


def _percentiles(times: Sequence[float]) -> Document | None:
    return {f"p{percent}": round(percentile(times, percent), 3) for percent in PERCENTILES} if times else None


def _mean_and_most(attempts: Sequence[int]) -> Document | None:
    return {"mean": round(sum(attempts) / len(attempts), 3), "most": max(attempts)} if attempts else None
