import { Metrics as Emf } from "@aws-lambda-powertools/metrics";
import { CODE_DIMENSION, METRIC_NAMESPACE, METRICS, type MetricName, type Service } from "./metric-names.ts";
import type { Metrics } from "./metrics.ts";

/**
 * The metrics of a function on AWS Lambda: lines in CloudWatch's embedded metric format on stdout, which need no call, no
 * right and no agent. What an invocation counted goes out as one line when it ends.
 */
export class EmfMetrics implements Metrics {
  readonly #emf: Emf;

  constructor(service: Service) {
    // The library's own variable, by which a deployment tells the stages of one account apart.
    const { POWERTOOLS_METRICS_NAMESPACE: namespace = METRIC_NAMESPACE } = process.env;
    this.#emf = new Emf({ namespace, serviceName: service });
  }

  count(name: MetricName, by: number = 1, code?: string): void {
    if (by === 0) return; // a metric is paid for in each hour in which it is written
    const { unit } = METRICS[name];
    if (code === undefined) this.#emf.addMetric(name, unit, by);
    // Dimensions are the line's and not the metric's, so a code needs a line of its own.
    else this.#emf.singleMetric().addDimension(CODE_DIMENSION, code).addMetric(name, unit, by);
  }

  gauge(name: MetricName, value: number): void {
    this.#emf.addMetric(name, METRICS[name].unit, value);
  }

  /** To be called when an invocation ends: afterwards the process may be frozen. */
  flush(): void {
    if (this.#emf.hasStoredMetrics()) this.#emf.publishStoredMetrics();
  }
}
