"""What PyPI's hdrhistogram makes of an interval log, and one that it has written.

usage: python hdr.py read FILE    prints tag, intervals, count, p50, p99 and max of each tag
       python hdr.py write FILE   writes an interval of 1000, 2000, ... 1000000
"""

import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader, HistogramLogWriter

HOUR_NS = 3600 * 10**9


def read(path):
    sums, intervals = {}, {}
    reader = HistogramLogReader(path, HdrHistogram(1, HOUR_NS, 2))
    while histogram := reader.get_next_interval_histogram():
        tag = histogram.get_tag()
        sums.setdefault(tag, HdrHistogram(1, HOUR_NS, 2)).add(histogram)
        intervals[tag] = intervals.get(tag, 0) + 1
    for tag, total in sums.items():
        figures = [total.get_value_at_percentile(p) for p in (50, 99)]
        print(tag, intervals[tag], total.get_total_count(), *figures, total.get_max_value())


def write(path):
    histogram = HdrHistogram(1, HOUR_NS, 3)
    for value in range(1000, 1_000_001, 1000):
        histogram.record_value(value)
    histogram.set_start_time_stamp(1_700_000_000_000)
    histogram.set_end_time_stamp(1_700_000_001_000)
    with open(path, "w", encoding="utf-8") as file:
        writer = HistogramLogWriter(file)
        writer.output_comment("[Logged with PyPI's hdrhistogram]")
        writer.output_log_format_version()
        writer.output_legend()
        writer.output_interval_histogram(histogram)


{"read": read, "write": write}[sys.argv[1]](sys.argv[2])
