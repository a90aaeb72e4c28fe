import { WaybillError } from "../lib/protocol/errors.ts";
import { quietSdk } from "./aws.ts";

/** What requests to AWS, and to whatever speaks its protocols, are signed with. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}
/** Asked for every request, because roles give new ones from time to time. */
export type CredentialSource = () => Promise<Credentials>;

/** Not a literal where it is imported, so that it stays out of the functions' bundles. */
const SDK_CHAIN: string = "@aws-sdk/credential-provider-node";

/** The given credentials, else those of the environment, else what the SDK finds. */
export function credentialsFrom(given?: Credentials): CredentialSource {
  if (given) return async () => given;
  let elsewhere: Promise<CredentialSource> | undefined;
  return async () => {
    const own = inEnvironment(process.env);
    if (own) return own;
    elsewhere ??= sdkChain();
    return (await elsewhere)();
  };
}

/** Lambda gives its role's credentials so. */
function inEnvironment(env: NodeJS.ProcessEnv): Credentials | null {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN } = env;
  if (!accessKeyId || !secretAccessKey) return null;
  const { AWS_CREDENTIAL_EXPIRATION: until } = env;
  return {
    accessKeyId,
    secretAccessKey,
    ...(AWS_SESSION_TOKEN && { sessionToken: AWS_SESSION_TOKEN }),
    ...(until && { expiration: new Date(until) }),
  };
}

/** Profiles, single sign-on, containers' and machines' roles: an operator's ways, who has the SDK installed. */
async function sdkChain(): Promise<CredentialSource> {
  quietSdk();
  try {
    const { defaultProvider } = (await import(SDK_CHAIN)) as { defaultProvider: () => CredentialSource };
    return defaultProvider();
  } catch {
    throw new WaybillError(
      "USAGE",
      `There are no AWS credentials in the environment. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or install ${SDK_CHAIN}.`,
    );
  }
}
