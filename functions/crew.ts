/**
 * Does `work` for each item, at most `atOnce` at the same time, and answers in the items' order. After a failure nothing
 * new is begun, and it is thrown when what had begun has ended.
 */
export async function eachOf<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let [next, failed] = [0, false];
  const worker = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const nth = next++;
      try {
        results[nth] = await work(items[nth]!);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  const failure = ends.find((end) => end.status === "rejected");
  if (failure) throw failure.reason;
  return results;
}
