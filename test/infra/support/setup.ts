import { preparePlatform } from "./platform.ts";

/** Before any test: what all of them need, so that no two fetch it at once. */
export default async function setup(): Promise<void> {
  await preparePlatform();
}
