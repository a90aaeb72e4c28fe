// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

contract ReceiptsTest is World {
    function test_aVerifiedReceiptTurnsOutstandingIntoVerified() public {
        Notice memory n = noticed(0x1e);
        verified(2, n);
        assertState(n, 0x1a, 4, false);
    }

    function test_aRejectingReceiptOnlyClearsTheBit() public {
        Notice memory n = noticed(0x1e);
        relay(receiptItem(keyOf(1), n, Outcome.CORRUPT), Reason.OK);
        relay(receiptItem(keyOf(2), n, Outcome.TOO_LARGE), Reason.OK);
        relay(receiptItem(keyOf(3), n, Outcome.REFUSED), Reason.OK);
        assertState(n, 0x10, 0, false);
    }

    function test_receiptsOfOneItemShareOneEventWithTheAcceptedSignatures() public {
        Notice memory n = noticed(0x1e);
        bytes[4] memory s = [
            receiptSignature(keyOf(3), n, 1),
            receiptSignature(STRANGER, n, 1),
            receiptSignature(keyOf(1), n, 1),
            receiptSignature(keyOf(3), n, 1)
        ];
        vm.recordLogs();
        uint8[][] memory codes =
            waybill.relay(items(Item(Kind.RECEIPTS, receiptData(n, 1), bytes.concat(s[0], s[1], s[2], s[3]))));
        vm.assertEq(
            abi.encodePacked(codes[0]),
            abi.encodePacked([uint256(Reason.OK), Reason.UNKNOWN_MEMBER, Reason.OK, Reason.DUPLICATE])
        );
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        vm.assertEq(logs[2].topics[0], IWaybill.Receipts.selector);
        vm.assertEq(logs[2].topics[1], task);
        bytes memory group = abi.encodePacked(Words.id(n), uint8(1), uint8(2), s[0], s[2]);
        vm.assertEq(logs[2].data, abi.encode(3, block.number, group));
        vm.assertEq(seq(), 3);
        assertState(n, 0x14, 0xa, false);
    }

    function test_oneGoodSignatureAmongBadOnesCounts() public {
        Notice memory n = noticed(2);
        bytes memory zeros = new bytes(65);
        bytes memory s = bytes.concat(zeros, receiptSignature(keyOf(1), n, 1), zeros);
        uint8[][] memory codes = waybill.relay(items(Item(Kind.RECEIPTS, receiptData(n, 1), s)));
        vm.assertEq(
            abi.encodePacked(codes[0]),
            abi.encodePacked([uint256(Reason.BAD_SIGNATURE), Reason.OK, Reason.BAD_SIGNATURE])
        );
        assertState(n, 0, 2, false);
    }

    function test_aVerifiedReceiptTwiceIsADuplicate() public {
        Notice memory n = noticed(6);
        verified(1, n);
        relaySkipped(receiptItem(keyOf(1), n, 1), Reason.DUPLICATE, _id(n, 1, 1));
        assertState(n, 4, 2, false);
    }

    function test_aRejectingReceiptTwiceIsADuplicate() public {
        Notice memory n = noticed(6);
        relay(receiptItem(keyOf(1), n, Outcome.REFUSED), Reason.OK);
        relaySkipped(receiptItem(keyOf(1), n, Outcome.REFUSED), Reason.DUPLICATE, _id(n, Outcome.REFUSED, 1));
    }

    function test_anotherOutcomeAfterAnAnswerIsNotOutstanding() public {
        Notice memory n = noticed(6);
        relay(receiptItem(keyOf(1), n, Outcome.REFUSED), Reason.OK);
        relay(receiptItem(keyOf(1), n, Outcome.VERIFIED), Reason.NOT_OUTSTANDING);
        verified(2, n);
        relay(receiptItem(keyOf(2), n, Outcome.CORRUPT), Reason.NOT_OUTSTANDING);
        assertState(n, 0, 4, false);
    }

    function test_equalReceiptsOfTwoMembersAreTwoStatements() public {
        Notice memory n = noticed(6);
        relay(receiptItem(keyOf(1), n, Outcome.CORRUPT), Reason.OK);
        relay(receiptItem(keyOf(2), n, Outcome.CORRUPT), Reason.OK);
    }

    function test_aMemberThatIsNoRecipientCannotAnswer() public {
        Notice memory n = noticed(2);
        relaySkipped(receiptItem(keyOf(2), n, 1), Reason.NOT_OUTSTANDING, _id(n, 1, 2));
        assertState(n, 2, 0, false);
    }

    function test_theSenderCannotAnswerForARecipient() public {
        Notice memory n = noticed(2);
        relay(receiptItem(keyOf(0), n, 1), Reason.NOT_OUTSTANDING);
        assertState(n, 2, 0, false);
    }

    function test_aStrangerCannotAnswer() public {
        Notice memory n = noticed(2);
        relay(receiptItem(STRANGER, n, 1), Reason.UNKNOWN_MEMBER);
        assertState(n, 2, 0, false);
    }

    function test_anExpelledRecipientCannotAnswer() public {
        Notice memory n = noticed(2);
        expelOne(member(1));
        relay(receiptItem(keyOf(1), n, 1), Reason.EXPELLED);
        assertState(n, 2, 0, false);
    }

    function test_anExpelledRecipientsEarlierReceiptIsADuplicate() public {
        Notice memory n = noticed(6);
        verified(1, n);
        relay(receiptItem(keyOf(2), n, Outcome.REFUSED), Reason.OK);
        expelOne(member(1));
        expelOne(member(2));
        relay(receiptItem(keyOf(1), n, 1), Reason.DUPLICATE);
        relay(receiptItem(keyOf(2), n, Outcome.REFUSED), Reason.DUPLICATE);
    }

    function test_aMemberThatWasAdmittedAgainCannotAnswerForItsOldBit() public {
        Notice memory n = noticed(2);
        expelOne(member(1));
        admitOne(member(1));
        relay(receiptItem(keyOf(1), n, 1), Reason.NOT_OUTSTANDING);
        assertState(n, 2, 0, false);
    }

    function test_aMemberThatWasAdmittedAgainIsStillKnownToHaveVerified() public {
        Notice memory n = noticed(2);
        verified(1, n);
        for (uint256 i; i < 16; ++i) {
            expelOne(member(1));
            admitOne(member(1));
            relay(receiptItem(keyOf(1), n, 1), Reason.DUPLICATE);
        }
    }

    function test_afterSeventeenReadmissionsAnOldReceiptIsForgottenButCannotCountAgain() public {
        Notice memory n = noticed(2);
        verified(1, n);
        for (uint256 i; i < 17; ++i) {
            expelOne(member(1));
            admitOne(member(1));
        }
        relay(receiptItem(keyOf(1), n, 1), Reason.NOT_OUTSTANDING);
        assertState(n, 0, 2, false);
    }

    function test_aReceiptCountsAtTheDeadlineAndNotASecondLater() public {
        Notice memory n = noticed(6);
        vm.warp(n.deadline);
        verified(1, n);
        vm.warp(n.deadline + 1);
        relaySkipped(receiptItem(keyOf(2), n, 1), Reason.EXPIRED, _id(n, 1, 2));
        relay(receiptItem(keyOf(1), n, 1), Reason.DUPLICATE);
        assertState(n, 4, 2, false);
    }

    function test_aReceiptForNoNoticeIsSkipped() public {
        relay(receiptItem(keyOf(1), newNotice(2), 1), Reason.UNKNOWN_NOTICE);
    }

    function test_aReceiptOfAnotherTaskNeverCountsForANotice() public {
        Notice memory n = noticed(2);
        bytes32 other = opened("other", accounts(0, 5));
        bytes32 id = Words.id(n);
        bytes memory s = sign(keyOf(1), Words.hashReceipt(other, id, 1));
        relay(Item(Kind.RECEIPTS, abi.encode(other, id, 1), s), Reason.UNKNOWN_NOTICE);
        relay(Item(Kind.RECEIPTS, abi.encode(keccak256("none"), id, 1), s), Reason.UNKNOWN_TASK);
        assertState(n, 2, 0, false);
    }

    function test_anOutcomeThatThereIsNotIsSkipped() public {
        Notice memory n = noticed(2);
        relay(receiptItem(keyOf(1), n, 0), Reason.BAD_OUTCOME);
        relay(receiptItem(keyOf(1), n, 5), Reason.BAD_OUTCOME);
        relay(receiptItem(keyOf(1), n, 255), Reason.BAD_OUTCOME);
        assertState(n, 2, 0, false);
    }

    function test_aReceiptAfterAWithdrawalDoesNotCount() public {
        Notice memory n = noticed(2);
        relay(withdrawItem(n), Reason.OK);
        relay(receiptItem(keyOf(1), n, 1), Reason.NOT_OUTSTANDING);
        assertState(n, 0, 0, true);
    }

    function test_receiptsWithoutOrWithPartsOfSignaturesAreBadSignatures() public {
        Notice memory n = noticed(2);
        bytes memory s = receiptSignature(keyOf(1), n, 1);
        relaySkipped(Item(Kind.RECEIPTS, receiptData(n, 1), ""), Reason.BAD_SIGNATURE, 0);
        relaySkipped(Item(Kind.RECEIPTS, receiptData(n, 1), bytes.concat(s, hex"00")), Reason.BAD_SIGNATURE, 0);
        relaySkipped(Item(Kind.RECEIPTS, receiptData(n, 1), new bytes(64)), Reason.BAD_SIGNATURE, 0);
        assertState(n, 2, 0, false);
    }

    function test_aReceiptItemsStateStandsBeforeTheNextItem() public {
        Notice memory n = newNotice(6);
        uint8[][] memory codes =
            waybill.relay(items(noticeItem(n), receiptItem(keyOf(1), n, 1), receiptItem(keyOf(1), n, 1)));
        vm.assertEq(abi.encode(codes[0][0], codes[1][0], codes[2][0]), abi.encode(0, 0, Reason.DUPLICATE));
    }

    /// @dev Any order of any members, each any number of times: the bits are those of the members that are recipients.
    function testFuzz_receiptsOfManyCountOncePerRecipient(uint256 seed, uint8 recipients, uint8 count, uint8 outcome)
        public
    {
        uint256 asked = recipients % 31 + 1;
        Notice memory n = noticed(asked);
        outcome = outcome % 4 + 1;
        bytes memory signatures;
        bytes memory expected;
        uint256 left = asked;
        for (uint256 i; i < count % 8 + uint256(1); ++i) {
            uint256 index = uint256(keccak256(abi.encode(seed, i))) % 5;
            signatures = bytes.concat(signatures, receiptSignature(keyOf(index), n, outcome));
            uint256 bit = 1 << index;
            uint8 reason = left & bit != 0 ? Reason.OK : asked & bit != 0 ? Reason.DUPLICATE : Reason.NOT_OUTSTANDING;
            expected = bytes.concat(expected, abi.encode(reason));
            left &= ~bit;
        }
        uint8[][] memory codes = waybill.relay(items(Item(Kind.RECEIPTS, receiptData(n, outcome), signatures)));
        vm.assertEq(abi.encodePacked(codes[0]), expected);
        assertState(n, left, outcome == Outcome.VERIFIED ? asked & ~left : 0, false);
    }

    function testFuzz_aReceiptsTimeDecidesBySeconds(uint32 later) public {
        Notice memory n = noticed(2);
        vm.warp(block.timestamp + later % 7200);
        relay(receiptItem(keyOf(1), n, 1), block.timestamp > n.deadline ? Reason.EXPIRED : Reason.OK);
    }

    function _id(Notice memory n, uint256 outcome, uint256 index) private view returns (bytes32) {
        return Words.id(Words.hashReceipt(n.task, Words.id(n), outcome), member(index));
    }
}
