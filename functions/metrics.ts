import { type CounterName, type GaugeName, METRICS, type MetricName, type Service } from "./metric-names.ts";

/** Where one function counts. Counting never fails and never waits. */
export interface Metrics {
  /** Adds to a counter; `code` is the second dimension of `Refusals`. */
  count(name: CounterName, by?: number, code?: string): void;
  /** Says how something stands now. */
  gauge(name: GaugeName, value: number): void;
}

/** What was counted: a counter's sum since the process began, or a gauge's last value. */
export interface Sample {
  readonly name: MetricName;
  readonly service: Service;
  readonly code: string | null;
  readonly value: number;
}

/** The metrics of a process that lives on, in memory, for whoever asks for them. */
export class Registry {
  readonly #samples = new Map<string, Sample>();

  /** Where the function of that name counts. */
  of(service: Service): Metrics {
    return {
      count: (name, by = 1, code) => this.#set(service, name, code ?? null, by),
      gauge: (name, value) => this.#set(service, name, null, value),
    };
  }

  /** All that was ever counted. */
  samples(): Sample[] {
    return [...this.#samples.values()];
  }

  #set(service: Service, name: MetricName, code: string | null, value: number): void {
    const key = `${service} ${name} ${code}`;
    const before = METRICS[name].kind === "counter" ? (this.#samples.get(key)?.value ?? 0) : 0;
    this.#samples.set(key, { name, service, code, value: before + value });
  }
}

/** For whoever counts nothing. */
export const uncounted: Metrics = { count: () => {}, gauge: () => {} };
