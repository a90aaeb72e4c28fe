// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {vm} from "./Vm.sol";
import {Message, Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

/// @dev A task of 210 members on three pages, of which the tests have the keys of all.
contract PagesTest is World {
    function setUp() public override {
        deploy();
        task = opened(SALT, accounts(0, 210));
    }

    function test_aPagesFirstBitIsItsFirstIndex() public {
        Notice memory n = _noticed(1, 1);
        relay(receiptItem(keyOf(104), n, 1), Reason.OK);
        assertState(n, 0, 1, false);
    }

    function test_aPagesLastBitIsItsLastIndex() public {
        Notice memory n = _noticed(0, 1 << 103 | 1);
        relay(receiptItem(keyOf(103), n, 1), Reason.OK);
        assertState(n, 1, 1 << 103, false);
    }

    function test_aFullPageAnswersInOneItem() public {
        Notice memory n = _noticed(1, (1 << PAGE) - 1);
        bytes memory signatures;
        for (uint256 i = 104; i < 208; ++i) {
            signatures = bytes.concat(signatures, receiptSignature(keyOf(i), n, 1));
        }
        uint8[][] memory codes = waybill.relay(items(Item(Kind.RECEIPTS, receiptData(n, 1), signatures)));
        vm.assertEq(keccak256(abi.encodePacked(codes[0])), keccak256(new bytes(104 * 32)));
        assertState(n, 0, (1 << PAGE) - 1, false);
    }

    function test_theSameBitOnAnotherPageIsAnotherMember() public {
        Notice memory n = _noticed(1, 2);
        relay(receiptItem(keyOf(1), n, 1), Reason.UNKNOWN_NOTICE);
        relay(receiptItem(keyOf(209), n, 1), Reason.UNKNOWN_NOTICE);
        assertState(n, 2, 0, false);
    }

    function test_authorsOfAnotherPageLeaveNoTrace() public {
        Notice memory n = _noticed(1, 7);
        bytes memory s = bytes.concat(
            receiptSignature(keyOf(0), n, 1),
            receiptSignature(keyOf(104), n, 1),
            receiptSignature(keyOf(208), n, 1),
            receiptSignature(keyOf(105), n, 1),
            receiptSignature(keyOf(1), n, 1)
        );
        uint8[][] memory codes = waybill.relay(items(Item(Kind.RECEIPTS, receiptData(n, 1), s)));
        vm.assertEq(
            abi.encodePacked(codes[0]),
            abi.encodePacked([uint256(Reason.UNKNOWN_NOTICE), 0, Reason.UNKNOWN_NOTICE, 0, Reason.UNKNOWN_NOTICE])
        );
        assertState(n, 4, 3, false);
        for (uint16 page; page < 4; ++page) {
            if (page == 1) continue;
            (uint48 deadline, uint104 outstanding, uint104 done, bool back) = waybill.state(task, page, Words.id(n));
            vm.assertTrue(deadline == 0 && outstanding == 0 && done == 0 && !back);
        }
    }

    function test_theSameWordsOnTwoPagesAreTwoNotices() public {
        Notice memory a = _noticed(0, 2);
        Notice memory b = Notice(task, a.sender, 1, 2, a.transfer, a.manifest, a.deadline);
        relay(noticeItem(b), Reason.OK);
        relay(receiptItem(keyOf(1), a, 1), Reason.OK);
        relay(withdrawItem(b), Reason.OK);
        assertState(a, 0, 2, false);
        assertState(b, 0, 0, true);
    }

    function test_aSenderNeedNotBeOnThePage() public {
        Notice memory n = newNotice(1);
        (n.page, n.sender) = (1, member(209));
        relay(noticeItem(keyOf(209), n), Reason.OK);
    }

    function test_bitsBeyondTheLastMemberAreUnknown() public {
        _assertRecipients(2, 3, Reason.OK);
        _assertRecipients(2, 4, Reason.UNKNOWN_RECIPIENT);
        _assertRecipients(3, 1, Reason.UNKNOWN_RECIPIENT);
        _assertRecipients(type(uint16).max, 1, Reason.UNKNOWN_RECIPIENT);
    }

    function test_aMessageMayBeForAPage() public {
        Message memory m = newMessage();
        (m.page, m.recipients) = (2, 3);
        relay(messageItem(m), Reason.OK);
        m.recipients = 7;
        relay(messageItem(m), Reason.UNKNOWN_RECIPIENT);
    }

    function test_aMemberThatMovedToAnotherPageIsStillKnownToHaveVerified() public {
        Notice memory n = _noticed(0, 6);
        relay(receiptItem(keyOf(1), n, 1), Reason.OK);
        expelOne(member(1));
        admitOne(member(1));
        relay(receiptItem(keyOf(1), n, 1), Reason.DUPLICATE);
        assertState(n, 4, 2, false);
    }

    function test_aMemberThatMovedToAnotherPageHasNoPartInItsOldOnes() public {
        Notice memory n = _noticed(0, 6);
        expelOne(member(1));
        admitOne(member(1));
        relay(receiptItem(keyOf(1), n, 1), Reason.UNKNOWN_NOTICE);
        assertState(n, 6, 0, false);
    }

    function testFuzz_recipientsAreWithinTheRoster(uint16 page, uint256 recipients, uint8 shift) public {
        page %= 5;
        recipients >>= shift;
        uint256 enrolled = page < 2 ? 104 : page == 2 ? 2 : 0;
        uint8 reason = recipients == 0 || recipients >> PAGE != 0
            ? Reason.BAD_RECIPIENTS
            : recipients >> enrolled != 0 ? Reason.UNKNOWN_RECIPIENT : Reason.OK;
        _assertRecipients(page, recipients, reason);
    }

    function testFuzz_onlyTheBitsMemberAnswers(uint256 index, uint256 author, uint8 outcome) public {
        index %= 210;
        author = author % 4 == 0 ? index : author % 3 == 0 ? (index + 104) % 210 : author % 210;
        outcome = outcome % 4 + 1;
        Notice memory n = _noticed(uint16(index / PAGE), 1 << (index % PAGE));
        uint8 reason = author == index
            ? Reason.OK
            : author / PAGE == index / PAGE ? Reason.NOT_OUTSTANDING : Reason.UNKNOWN_NOTICE;
        relay(receiptItem(keyOf(author), n, outcome), reason);
        uint256 left = author == index ? 0 : n.recipients;
        assertState(n, left, left == 0 && outcome == Outcome.VERIFIED ? n.recipients : 0, false);
    }

    function _noticed(uint16 page, uint256 recipients) private returns (Notice memory n) {
        n = newNotice(recipients);
        n.page = page;
        relay(noticeItem(n), Reason.OK);
    }

    function _assertRecipients(uint16 page, uint256 recipients, uint8 reason) private {
        Notice memory n = newNotice(recipients);
        n.page = page;
        relay(noticeItem(n), reason);
    }
}
