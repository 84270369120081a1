// What npm's hdr-histogram-js makes of an interval log, and one that it has written.
//
// usage: node hdr.mjs PACKAGE_FOLDER read FILE    prints tag, intervals, count, p50, p99 and max
//        node hdr.mjs PACKAGE_FOLDER write FILE   writes an interval of 1000, 2000, ... 1000000

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'

const [folder, what, file] = process.argv.slice(2)
const hdr = createRequire(import.meta.url)(join(resolve(folder), 'dist', 'index.js'))
const build = digits => hdr.build({ bitBucketSize: 64, numberOfSignificantValueDigits: digits })

if (what === 'read') {
  const totals = new Map()
  const reader = new hdr.HistogramLogReader(readFileSync(file, 'utf8'), 64)
  for (let next; (next = reader.nextIntervalHistogram());) {
    const total = totals.get(next.tag) ?? { intervals: 0, values: build(2) }
    totals.set(next.tag, total)
    total.intervals += 1
    total.values.add(next)
  }
  for (const [tag, { intervals, values }] of totals) {
    const figures = [50, 99].map(p => values.getValueAtPercentile(p))
    console.log(tag, intervals, values.totalCount, ...figures, values.maxValue)
  }
} else {
  const values = build(3)
  for (let value = 1000; value <= 1_000_000; value += 1000) values.recordValue(value)
  values.startTimeStampMsec = 1_700_000_000_000
  values.endTimeStampMsec = 1_700_000_001_000
  values.tag = 'from-npm'
  let log = ''
  const writer = new hdr.HistogramLogWriter(text => { log += text })
  writer.outputLogFormatVersion()
  writer.outputStartTime(values.startTimeStampMsec)
  writer.outputLegend()
  writer.outputIntervalHistogram(values)
  writeFileSync(file, log)
}
