// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

contract NoticesTest is World {
    function test_aNoticeStandsWithItsRecipientsOutstanding() public {
        Notice memory n = noticed(0x1e);
        assertState(n, 0x1e, 0, false);
    }

    function test_aNoticesEventCarriesEverythingThatWasSigned() public {
        Notice memory n = newNotice(0x1e);
        Item memory item = noticeItem(n);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.Noticed.selector);
        vm.assertEq(log.topics[1], task);
        bytes memory head =
            abi.encode(2, block.number, n.sender, n.page, n.recipients, n.transfer, n.manifest, n.deadline);
        vm.assertEq(log.data, bytes.concat(head, abi.encode(0x120, 65), item.signatures, new bytes(31)));
    }

    function test_aSenderMayBeItsOwnRecipient() public {
        assertState(noticed(1), 1, 0, false);
    }

    function test_twoNoticesOfOneTransferStandBesideEachOther() public {
        Notice memory a = noticed(2);
        Notice memory b = newNotice(2);
        (b.transfer, b.deadline) = (a.transfer, a.deadline + 1);
        relay(noticeItem(b), Reason.OK);
        verified(1, b);
        assertState(a, 2, 0, false);
    }

    function test_aNoticeThatStandsIsADuplicate() public {
        Notice memory n = noticed(2);
        relaySkipped(noticeItem(n), Reason.DUPLICATE, Words.id(n));
        assertState(n, 2, 0, false);
    }

    function test_anAnsweredNoticeIsStillADuplicate() public {
        Notice memory n = noticed(2);
        verified(1, n);
        relay(noticeItem(n), Reason.DUPLICATE);
        assertState(n, 0, 2, false);
    }

    function test_aRejectedNoticeIsStillADuplicate() public {
        Notice memory n = noticed(2);
        relay(receiptItem(keyOf(1), n, Outcome.CORRUPT), Reason.OK);
        relay(noticeItem(n), Reason.DUPLICATE);
        assertState(n, 0, 0, false);
    }

    function test_aWithdrawnNoticeIsStillADuplicate() public {
        Notice memory n = noticed(2);
        relay(withdrawItem(n), Reason.OK);
        relay(noticeItem(n), Reason.DUPLICATE);
        assertState(n, 0, 0, true);
    }

    function test_aNoticeIsADuplicateLongAfterItsDeadlineAndItsSendersExpulsion() public {
        Notice memory n = noticed(2);
        expelOne(member(0));
        vm.warp(n.deadline + 1);
        relay(noticeItem(n), Reason.DUPLICATE);
    }

    function test_aStrangersNoticeIsSkipped() public {
        Notice memory n = newNotice(0x1e);
        n.sender = vm.addr(STRANGER);
        relaySkipped(noticeItem(STRANGER, n), Reason.UNKNOWN_MEMBER, Words.id(n));
        assertUnknown(n);
    }

    function test_anExpelledMembersNoticeIsSkipped() public {
        Notice memory n = newNotice(2);
        expelOne(member(0));
        relaySkipped(noticeItem(n), Reason.EXPELLED, Words.id(n));
        assertUnknown(n);
    }

    function test_aNoticeSignedByAnotherMemberIsSkipped() public {
        Notice memory n = newNotice(2);
        relaySkipped(noticeItem(keyOf(1), n), Reason.BAD_SIGNATURE, Words.id(n));
        assertUnknown(n);
    }

    function test_theOwnerIsNoMemberUnlessItAdmitsItself() public {
        Notice memory n = newNotice(2);
        n.sender = vm.addr(OWNER);
        relay(noticeItem(OWNER, n), Reason.UNKNOWN_MEMBER);
        admitOne(vm.addr(OWNER));
        relay(noticeItem(OWNER, n), Reason.OK);
    }

    function test_aNoticeOfAnUnknownTaskIsSkipped() public {
        Notice memory n = newNotice(2);
        n.task = keccak256("no task");
        relaySkipped(noticeItem(n), Reason.UNKNOWN_TASK, Words.id(n));
    }

    function test_aNoticeOfAnotherTasksMemberIsSkipped() public {
        Notice memory n = newNotice(1);
        n.task = opened("other", accounts(10, 1));
        relay(noticeItem(n), Reason.UNKNOWN_MEMBER);
    }

    function test_aNoticeStandsAtItsDeadlineAndNotASecondLater() public {
        Notice memory n = newNotice(2);
        Notice memory late = newNotice(2);
        vm.warp(n.deadline);
        relay(noticeItem(n), Reason.OK);
        vm.warp(late.deadline + 1);
        relaySkipped(noticeItem(late), Reason.EXPIRED, Words.id(late));
    }

    function test_aDeadlineMayBeThirtyDaysAheadAndNotASecondMore() public {
        Notice memory n = newNotice(2);
        n.deadline = uint48(block.timestamp + 30 days);
        relay(noticeItem(n), Reason.OK);
        n.deadline += 1;
        relaySkipped(noticeItem(n), Reason.BAD_DEADLINE, Words.id(n));
    }

    function test_aDeadlineOfZeroIsOver() public {
        Notice memory n = newNotice(2);
        n.deadline = 0;
        relay(noticeItem(n), Reason.EXPIRED);
    }

    function test_noRecipientsAreBadRecipients() public {
        Notice memory n = newNotice(0);
        relaySkipped(noticeItem(n), Reason.BAD_RECIPIENTS, Words.id(n));
    }

    function test_aBitAboveThePageIsABadRecipient() public {
        relay(noticeItem(newNotice(1 << PAGE)), Reason.BAD_RECIPIENTS);
        relay(noticeItem(newNotice(EVERYONE)), Reason.BAD_RECIPIENTS);
    }

    function test_aBitThatNobodyHasYetIsUnknown() public {
        relay(noticeItem(newNotice(1 << 5)), Reason.UNKNOWN_RECIPIENT);
        admitOne(member(5));
        relay(noticeItem(newNotice(1 << 5)), Reason.OK);
    }

    function test_anExpelledRecipientMayBeNamedButNotAnswer() public {
        expelOne(member(1));
        Notice memory n = noticed(2);
        relay(receiptItem(keyOf(1), n, Outcome.VERIFIED), Reason.EXPELLED);
        assertState(n, 2, 0, false);
    }

    function testFuzz_aNoticeStandsExactlyUntilThirtyDaysAhead(uint48 deadline, uint32 ahead) public {
        Notice memory n = newNotice(2);
        n.deadline = ahead % 2 == 0 ? deadline : uint48(block.timestamp - 10 days + ahead % 60 days);
        uint8 reason = n.deadline < block.timestamp
            ? Reason.EXPIRED
            : n.deadline > block.timestamp + 30 days ? Reason.BAD_DEADLINE : Reason.OK;
        relay(noticeItem(n), reason);
    }

    function testFuzz_recipientsAreExactlyTheBitsThatHaveAMember(uint256 recipients, uint8 shift) public {
        recipients >>= shift;
        uint8 reason = recipients == 0 || recipients >> PAGE != 0
            ? Reason.BAD_RECIPIENTS
            : recipients >> 5 != 0 ? Reason.UNKNOWN_RECIPIENT : Reason.OK;
        Notice memory n = newNotice(recipients);
        relay(noticeItem(n), reason);
        if (reason == Reason.OK) assertState(n, recipients, 0, false);
        else assertUnknown(n);
    }

    function testFuzz_onlyTheSendersKeySigns(uint256 key, uint256 sender) public {
        key = key % (type(uint256).max >> 1) + 1;
        Notice memory n = newNotice(2);
        n.sender = member(sender % 5);
        vm.assume(vm.addr(key) != n.sender);
        relay(noticeItem(key, n), Reason.BAD_SIGNATURE);
        relay(noticeItem(keyOf(sender % 5), n), Reason.OK);
    }

    function testFuzz_whatWasSignedIsWhatCounts(uint256 where, uint8 bit) public {
        Item memory item = noticeItem(newNotice(2));
        where %= item.data.length;
        item.data[where] ^= bytes1(uint8(1 << (bit % 8)));
        vm.assertTrue(relayedInVain(items(item)).codes[0][0] != Reason.OK);
    }
}
