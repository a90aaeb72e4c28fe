import { SstHome } from "./aws/home.ts";
import { AwsStandIn } from "./aws/server.ts";
import { Deployed } from "./deployed.ts";
import { REGION } from "./graph.ts";
import { Gateway } from "./lambda/gateway.ts";
import { type Account, SstProject } from "./project.ts";

/** An AWS account that is ours alone and new, and the project of an operator who deploys to it. */
export class TestAccount {
  readonly account: Account;
  readonly aws: AwsStandIn;
  readonly home: SstHome;
  readonly gateway: Gateway;
  readonly project: SstProject;

  private constructor(account: Account, aws: AwsStandIn, gateway: Gateway, project: SstProject) {
    this.account = account;
    this.aws = aws;
    this.gateway = gateway;
    this.project = project;
    this.home = new SstHome(aws, account.id);
  }

  static async open(): Promise<TestAccount> {
    const [aws, gateway] = await Promise.all([AwsStandIn.start(), Gateway.start()]);
    const account = { id: "123456789012", region: REGION, endpoint: aws.endpoint, api: gateway.origin };
    try {
      return new TestAccount(account, aws, gateway, await SstProject.create(account));
    } catch (error) {
      await Promise.all([aws.stop(), gateway.stop()]);
      throw error;
    }
  }

  /** What stands of a stage. */
  deployed(stage: string): Deployed {
    const state = this.home.text(`app/waybill/${stage}.json`);
    if (state === null) throw new Error(`the stage ${stage} was never deployed`);
    return new Deployed(state);
  }

  async close(): Promise<void> {
    await Promise.all([this.aws.stop(), this.gateway.stop(), this.project.remove()]);
  }
}
