// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

contract WithdrawalsTest is World {
    function test_aWithdrawClearsWhatIsOutstandingAndKeepsWhatIsVerified() public {
        Notice memory n = noticed(0x1e);
        verified(1, n);
        relay(withdrawItem(n), Reason.OK);
        assertState(n, 0, 2, true);
    }

    function test_aWithdrawsEventNamesTheNoticeAndCarriesTheSignature() public {
        Notice memory n = noticed(2);
        Item memory item = withdrawItem(n);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.Withdrawn.selector);
        vm.assertEq(log.topics[1], task);
        vm.assertEq(log.data, abi.encode(3, block.number, Words.id(n), item.signatures));
    }

    function test_onlyTheSenderWithdraws() public {
        Notice memory n = noticed(2);
        relay(withdrawItem(keyOf(1), n), Reason.BAD_SIGNATURE);
        relay(withdrawItem(OWNER, n), Reason.BAD_SIGNATURE);
        relay(withdrawItem(STRANGER, n), Reason.BAD_SIGNATURE);
        assertState(n, 2, 0, false);
    }

    function test_aNoticesOwnSignatureDoesNotWithdrawIt() public {
        Notice memory n = newNotice(2);
        Item memory item = noticeItem(n);
        relay(item, Reason.OK);
        item.kind = Kind.WITHDRAW;
        relay(item, Reason.BAD_SIGNATURE);
        assertState(n, 2, 0, false);
    }

    function test_aWithdrawOfOneNoticeLeavesTheSendersOthers() public {
        Notice memory n = noticed(2);
        Notice memory other = noticed(2);
        Item memory item = withdrawItem(n);
        relay(Item(Kind.WITHDRAW, abi.encode(other), item.signatures), Reason.BAD_SIGNATURE);
        relay(item, Reason.OK);
        assertState(other, 2, 0, false);
    }

    function test_aSecondWithdrawIsADuplicate() public {
        Notice memory n = noticed(2);
        relay(withdrawItem(n), Reason.OK);
        relaySkipped(withdrawItem(n), Reason.DUPLICATE, Words.id(Words.hashWithdraw(n), n.sender));
    }

    function test_nothingOutstandingIsNothingToWithdraw() public {
        Notice memory n = noticed(2);
        verified(1, n);
        relay(withdrawItem(n), Reason.NOT_OUTSTANDING);
        assertState(n, 0, 2, false);
    }

    function test_aWithdrawOfNoNoticeIsSkipped() public {
        Notice memory n = newNotice(2);
        relay(withdrawItem(n), Reason.UNKNOWN_NOTICE);
        n.task = keccak256("none");
        relay(withdrawItem(n), Reason.UNKNOWN_TASK);
    }

    function test_aSenderMayWithdrawAfterTheDeadlineAndItsExpulsion() public {
        Notice memory n = noticed(2);
        expelOne(member(0));
        vm.warp(n.deadline + 365 days);
        relay(withdrawItem(n), Reason.OK);
        assertState(n, 0, 0, true);
    }

    function test_aWithdrawNamesItsNoticeInEveryField() public {
        Notice memory n = noticed(2);
        Notice memory other = noticed(2);
        other.recipients = 6; // as it never stood
        relay(withdrawItem(other), Reason.UNKNOWN_NOTICE);
        assertState(n, 2, 0, false);
    }

    function testFuzz_aWithdrawEndsExactlyWhatWasLeft(uint8 recipients, uint8 answered) public {
        uint256 asked = recipients % 31 + 1;
        Notice memory n = noticed(asked);
        uint256 done = asked & answered;
        for (uint256 i; i < 5; ++i) {
            if (done >> i & 1 != 0) verified(i, n);
        }
        bool left = done != asked;
        relay(withdrawItem(n), left ? Reason.OK : Reason.NOT_OUTSTANDING);
        assertState(n, 0, done, left);
    }
}
