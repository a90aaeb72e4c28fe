// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Message, Words} from "./Words.sol";
import {World} from "./World.sol";

contract MessagesTest is World {
    function test_aMessagesEventCarriesEverythingThatWasSigned() public {
        Message memory m = newMessage();
        Item memory item = messageItem(m);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.Posted.selector);
        vm.assertEq(log.topics[1], task);
        bytes memory head = abi.encode(2, block.number, m.sender, m.page, m.recipients, m.kind);
        bytes memory tail = abi.encode(0x140, m.salt, m.deadline, 0x180, m.payload.length);
        bytes memory payload = bytes.concat(m.payload, new bytes(30));
        bytes memory signature = bytes.concat(abi.encode(65), item.signatures, new bytes(31));
        vm.assertEq(log.data, bytes.concat(head, tail, payload, signature));
    }

    function test_aReplayedMessageIsADuplicate() public {
        Message memory m = newMessage();
        relay(messageItem(m), Reason.OK);
        relaySkipped(messageItem(m), Reason.DUPLICATE, Words.id(Words.hash(m), m.sender));
    }

    function test_aMessageIsADuplicateLongAfterItsDeadlineAndItsSendersExpulsion() public {
        Message memory m = newMessage();
        relay(messageItem(m), Reason.OK);
        expelOne(member(0));
        vm.warp(m.deadline + 1);
        relay(messageItem(m), Reason.DUPLICATE);
    }

    function test_theSameWordsWithAnotherSaltAreAnotherMessage() public {
        Message memory m = newMessage();
        relay(messageItem(m), Reason.OK);
        m.salt = keccak256("again");
        relay(messageItem(m), Reason.OK);
    }

    function test_aStrangersOrExpelledMembersMessageIsSkipped() public {
        Message memory m = newMessage();
        expelOne(member(0));
        relay(messageItem(m), Reason.EXPELLED);
        m.sender = vm.addr(STRANGER);
        relay(messageItem(STRANGER, m), Reason.UNKNOWN_MEMBER);
    }

    function test_aMessageSignedByAnotherMemberIsSkipped() public {
        relay(messageItem(keyOf(1), newMessage()), Reason.BAD_SIGNATURE);
    }

    function test_aMessageOfAnUnknownTaskIsSkipped() public {
        Message memory m = newMessage();
        m.task = keccak256("none");
        relay(messageItem(m), Reason.UNKNOWN_TASK);
    }

    function test_aMessageStandsAtItsDeadlineAndNotASecondLater() public {
        Message memory m = newMessage();
        vm.warp(m.deadline);
        relay(messageItem(m), Reason.OK);
        m = newMessage();
        vm.warp(m.deadline + 1);
        relay(messageItem(m), Reason.EXPIRED);
    }

    function test_aMessagesDeadlineMayBeThirtyDaysAheadAndNotASecondMore() public {
        Message memory m = newMessage();
        m.deadline = uint48(block.timestamp + 30 days);
        relay(messageItem(m), Reason.OK);
        m.deadline += 1;
        relay(messageItem(m), Reason.BAD_DEADLINE);
    }

    function test_aPayloadMayHave4096BytesAndNotOneMore() public {
        Message memory m = newMessage();
        m.payload = new bytes(4096);
        relay(messageItem(m), Reason.OK);
        m.payload = new bytes(4097);
        relaySkipped(messageItem(m), Reason.TOO_LARGE, Words.id(Words.hash(m), m.sender));
    }

    function test_aMessageMayBeForSome() public {
        Message memory m = newMessage();
        m.recipients = 0x1f;
        relay(messageItem(m), Reason.OK);
    }

    function test_aMessageForNobodyOrForBitsThatNobodyHasIsSkipped() public {
        Message memory m = newMessage();
        m.recipients = 0;
        relay(messageItem(m), Reason.BAD_RECIPIENTS);
        m.recipients = EVERYONE - 1;
        relay(messageItem(m), Reason.BAD_RECIPIENTS);
        m.recipients = 1 << 5;
        relay(messageItem(m), Reason.UNKNOWN_RECIPIENT);
    }

    function test_aMessageForEveryoneIsOnPageZero() public {
        Message memory m = newMessage();
        m.page = 1;
        relay(messageItem(m), Reason.BAD_RECIPIENTS);
    }

    function testFuzz_aMessageOfAnyWordsStandsOnce(bytes32 kind, bytes32 salt, bytes calldata payload, uint256 sender)
        public
    {
        Message memory m = newMessage();
        (m.kind, m.salt, m.payload, m.sender) = (kind, salt, payload, member(sender % 5));
        Item memory item = messageItem(keyOf(sender % 5), m);
        if (payload.length > 4096) {
            relay(item, Reason.TOO_LARGE);
            return;
        }
        relay(item, Reason.OK);
        relaySkipped(item, Reason.DUPLICATE, Words.id(Words.hash(m), m.sender));
    }

    function testFuzz_whatWasSignedIsWhatCounts(uint256 where, uint8 bit) public {
        Message memory m = newMessage();
        m.payload = new bytes(50);
        Item memory item = messageItem(m);
        where %= item.data.length - 14; // the padding is not covered, and not looked at
        item.data[where] ^= bytes1(uint8(1 << (bit % 8)));
        vm.assertTrue(relayedInVain(items(item)).codes[0][0] != Reason.OK);
    }
}
