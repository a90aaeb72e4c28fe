// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Message, Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

contract RelayTest is World {
    function test_nothingRelayedIsNothingDone() public {
        Relayed memory r = relayedInVain(new Item[](0));
        vm.assertEq(r.codes.length + r.logs.length, 0);
    }

    function test_aKindThatThereIsNotIsSkipped() public {
        Item memory item = messageItem(newMessage());
        item.kind = 8;
        relaySkipped(item, Reason.BAD_KIND, 0);
        item.kind = 255;
        relaySkipped(item, Reason.BAD_KIND, 0);
    }

    function test_aBadItemLeavesTheOthers() public {
        Notice memory a = newNotice(2);
        Notice memory b = newNotice(4);
        Relayed memory r = relayed(items(noticeItem(a), noticeItem(STRANGER, newNotice(2)), noticeItem(b)));
        vm.assertEq(abi.encode(r.codes[0][0], r.codes[1][0], r.codes[2][0]), abi.encode(0, Reason.BAD_SIGNATURE, 0));
        assertState(a, 2, 0, false);
        assertState(b, 4, 0, false);
        vm.assertEq(seq(), 3);
    }

    function test_theSameItemTwiceInOneRelayCountsOnce() public {
        Item[8] memory all = _everyKind();
        for (uint256 i; i < 8; ++i) {
            Relayed memory r = relayed(items(all[i], all[i]));
            vm.assertEq(abi.encode(r.codes[0][0], r.codes[1][0]), abi.encode(Reason.OK, Reason.DUPLICATE));
        }
    }

    function test_aReplayOfEveryKindIsADuplicate() public {
        Item[8] memory all = _everyKind();
        for (uint256 i; i < 8; ++i) {
            relay(all[i], Reason.OK);
        }
        vm.roll(block.number + 10);
        for (uint256 i; i < 8; ++i) {
            relay(all[i], Reason.DUPLICATE);
        }
    }

    function test_anItemBuildsOnTheOnesBeforeIt() public {
        Notice memory n = newNotice(1 << 5);
        Relayed memory r =
            relayed(items(changeItem(Kind.ADMIT, one(member(5)), 1), noticeItem(n), receiptItem(keyOf(5), n, 1)));
        vm.assertEq(abi.encode(r.codes[0][0], r.codes[1][0], r.codes[2][0]), abi.encode(0, 0, 0));
        assertState(n, 0, 1 << 5, false);
    }

    function test_anItemBeforeItsConditionIsSkipped() public {
        Notice memory n = newNotice(2);
        Relayed memory r = relayed(items(receiptItem(keyOf(1), n, 1), noticeItem(n)));
        vm.assertEq(abi.encode(r.codes[0][0], r.codes[1][0]), abi.encode(Reason.UNKNOWN_NOTICE, 0));
    }

    /// @dev Receipts in a row of two tasks, with bad ones between: each task's line moves by its own events alone.
    function test_receiptsOfSeveralTasksInARowStayApart() public {
        bytes32 first = task;
        Notice memory a = noticed(6);
        task = opened("second", accounts(0, 3));
        Notice memory b = noticed(6);
        Item[] memory list = new Item[](6);
        list[0] = receiptItem(keyOf(1), a, 1);
        list[1] = receiptItem(keyOf(1), b, 1);
        list[2] = Item(Kind.RECEIPTS, abi.encode(keccak256("none"), Words.id(a), 1), list[0].signatures);
        list[3] = receiptItem(STRANGER, a, 1);
        list[4] = receiptItem(keyOf(2), a, Outcome.REFUSED);
        list[5] = receiptItem(keyOf(2), b, 1);
        vm.roll(block.number + 7);
        Relayed memory r = relayed(list);
        vm.assertEq(
            abi.encode(r.codes[0][0], r.codes[1][0], r.codes[3][0], r.codes[4][0], r.codes[5][0]),
            abi.encode(0, 0, Reason.UNKNOWN_MEMBER, 0, 0)
        );
        assertState(a, 0, 2, false);
        assertState(b, 0, 6, false);
        uint64[2] memory next = [uint64(3), 3];
        uint64[2] memory before = [uint64(block.number - 7), uint64(block.number - 7)];
        for (uint256 i; i < r.logs.length; ++i) {
            if (r.logs[i].topics[0] == IWaybill.Skipped.selector) continue;
            uint256 which = r.logs[i].topics[1] == first ? 0 : 1;
            (uint64 place, uint64 prevBlock) = abi.decode(r.logs[i].data, (uint64, uint64));
            vm.assertEq(abi.encode(place, prevBlock), abi.encode(next[which]++, before[which]));
            before[which] = uint64(block.number);
        }
        vm.assertEq(abi.encode(next), abi.encode([5, 5]));
    }

    function test_anEventNamesTheBlockBeforeItsOwn() public {
        uint256 opening = block.number;
        vm.roll(opening + 3);
        (uint64 place, uint64 prevBlock) =
            abi.decode(relay(messageItem(newMessage()), Reason.OK).data, (uint64, uint64));
        vm.assertEq(abi.encode(place, prevBlock), abi.encode(2, opening));
        vm.roll(opening + 5);
        (place, prevBlock) = abi.decode(relay(messageItem(newMessage()), Reason.OK).data, (uint64, uint64));
        vm.assertEq(abi.encode(place, prevBlock), abi.encode(3, opening + 3));
        (uint64 newest, uint64 block_) = waybill.latest(task);
        vm.assertEq(abi.encode(newest, block_), abi.encode(3, opening + 5));
    }

    function test_everyKindMovesTheLineByOne() public {
        Item[8] memory all = _everyKind();
        uint64 before = seq();
        relay(all[0], Reason.OK); // of another task
        vm.assertEq(seq(), before);
        for (uint256 i = 1; i < 8; ++i) {
            (uint64 place,) = abi.decode(relay(all[i], Reason.OK).data, (uint64, uint64));
            vm.assertEq(place, before + i);
        }
    }

    function test_nobodysSkippedItemMovesATask() public {
        uint64 before = seq();
        relay(noticeItem(STRANGER, newNotice(2)), Reason.BAD_SIGNATURE);
        relay(changeItem(STRANGER, Kind.ADMIT, one(member(9)), 1), Reason.BAD_SIGNATURE);
        relay(messageItem(STRANGER, newMessage()), Reason.BAD_SIGNATURE);
        vm.assertEq(seq(), before);
    }

    function test_aTaskThatThereIsNotHasNothing() public view {
        (uint64 place, uint64 block_) = waybill.latest(keccak256("none"));
        (address owner, uint32 version, uint32 count) = waybill.roster(keccak256("none"));
        vm.assertEq(abi.encode(place, block_, owner, version, count), abi.encode(0, 0, 0, 0, 0));
    }

    // What is no canonical encoding

    function test_dataOfTheWrongLengthIsMalformed() public {
        Item[8] memory all = _everyKind();
        for (uint256 i; i < 8; ++i) {
            bytes memory data = all[i].data;
            relaySkipped(Item(uint8(i), bytes.concat(data, hex"00"), all[i].signatures), Reason.MALFORMED, 0);
            relaySkipped(Item(uint8(i), bytes.concat(data, new bytes(32)), all[i].signatures), Reason.MALFORMED, 0);
            relaySkipped(Item(uint8(i), "", all[i].signatures), Reason.MALFORMED, 0);
            assembly {
                mstore(data, sub(mload(data), 32))
            }
            relaySkipped(Item(uint8(i), data, all[i].signatures), Reason.MALFORMED, 0);
        }
    }

    function test_highBitsInANarrowFieldAreMalformed() public {
        Item[8] memory all = _everyKind();
        // Where the narrow words of each kind lie.
        uint8[4][8] memory narrow = [
            [uint8(0), 0, 0, 0],
            [2, 2, 2, 2],
            [2, 2, 2, 2],
            [1, 2, 6, 6],
            [2, 2, 2, 2],
            [2, 3, 3, 3],
            [1, 2, 6, 6],
            [1, 2, 7, 7]
        ];
        for (uint256 i; i < 8; ++i) {
            for (uint256 k; k < 4; ++k) {
                bytes memory data = bytes.concat(all[i].data);
                data[32 * uint256(narrow[i][k])] = 0x80;
                relaySkipped(Item(uint8(i), data, all[i].signatures), Reason.MALFORMED, 0);
            }
        }
    }

    function test_narrowFieldsEndExactlyWhereTheirTypesDo() public {
        _assertMalformed(noticeItem(newNotice(2)), 1, 11); // address: bit 160
        _assertMalformed(noticeItem(newNotice(2)), 2, 29); // uint16: bit 16
        _assertMalformed(noticeItem(newNotice(2)), 6, 25); // uint48: bit 48
        _assertMalformed(messageItem(newMessage()), 1, 11);
        _assertMalformed(messageItem(newMessage()), 2, 29);
        _assertMalformed(messageItem(newMessage()), 7, 25);
        _assertMalformed(receiptItem(keyOf(1), noticed(2), 1), 2, 30); // uint8: bit 8
        _assertMalformed(walletItem(member(1), noticed(2), 1, ""), 3, 11);
        _assertMalformed(openItem("new", accounts(0, 2)), 0, 11);
        _assertMalformed(changeItem(Kind.EXPEL, accounts(0, 2), 1), 2, 27); // uint32: bit 32
    }

    function test_aListsOffsetAndLengthAreWhereTheyBelong() public {
        _assertMalformed(openItem("new", accounts(0, 2)), 2, 31);
        _assertMalformed(openItem("new", accounts(0, 2)), 3, 31);
        _assertMalformed(changeItem(Kind.ADMIT, accounts(8, 2), 1), 1, 31);
        _assertMalformed(changeItem(Kind.ADMIT, accounts(8, 2), 1), 3, 31);
        _assertMalformed(messageItem(newMessage()), 5, 31);
        _assertMalformed(messageItem(newMessage()), 5, 0);
    }

    function test_highBitsInAMembersAddressAreMalformed() public {
        Item memory item = openItem("new", accounts(0, 2));
        item.data[32 * 5 + 11] = 0x01;
        uint8[][] memory codes = waybill.relay(items(item));
        vm.assertEq(codes[0][0], Reason.MALFORMED);
    }

    function test_aPayloadsLengthFitsItsPaddedBytes() public {
        Message memory m = newMessage();
        m.payload = new bytes(64);
        Item memory item = messageItem(m);
        item.data[32 * 8 + 31] = bytes1(uint8(65)); // over the end
        relay(item, Reason.MALFORMED);
        item.data[32 * 8 + 31] = bytes1(uint8(32)); // a word too many
        relay(item, Reason.MALFORMED);
        item.data[32 * 8] = 0xff;
        relay(item, Reason.MALFORMED);
    }

    // Fuzz

    function testFuzz_anybodyMayRelay(address relayer, uint256 seed) public {
        Item memory item = _ofKind(uint8(seed % 8));
        vm.startPrank(relayer);
        relay(item, Reason.OK);
        vm.stopPrank();
    }

    function testFuzz_garbageIsSkipped(uint8 kind, bytes calldata data, bytes calldata signatures) public {
        Relayed memory r = relayedInVain(items(Item(kind % 10, data, signatures)));
        for (uint256 i; i < r.codes[0].length; ++i) {
            vm.assertTrue(r.codes[0][i] != Reason.OK);
        }
    }

    function testFuzz_garbageBetweenGoodItemsLeavesThem(uint8 kind, bytes calldata data, bytes calldata signatures)
        public
    {
        Notice memory n = noticed(6);
        Item memory garbage = Item(kind % 10, data, signatures);
        Relayed memory r = relayed(items(receiptItem(keyOf(1), n, 1), garbage, receiptItem(keyOf(2), n, 1)));
        vm.assertEq(r.codes[0][0], Reason.OK);
        vm.assertEq(r.codes[2][0], Reason.OK);
        bool unreadable = data.length != 96 || signatures.length == 0 || signatures.length % 65 != 0;
        bool within = kind % 10 == Kind.RECEIPTS && (unreadable || r.codes[1][0] == Reason.MALFORMED);
        vm.assertEq(seq(), within ? 3 : 4); // what can't be read ends no run
        assertState(n, 0, 6, false);
    }

    /// @dev A good item, its words cut off or overwritten anywhere in the calldata: either it is what was signed, or it is
    /// nothing.
    function testFuzz_damagedCalldataIsNeverAnotherStatement(uint256 where, bytes32 word, uint256 cut, uint8 how)
        public
    {
        Notice memory n = newNotice(6);
        bytes memory input = abi.encodeCall(IWaybill.relay, (items(noticeItem(n))));
        if (how % 2 == 0) {
            where = 4 + 32 * (where % ((input.length - 4) / 32));
            word = how % 4 == 0 ? word : bytes32(uint256(word) % 1024);
            assembly {
                mstore(add(add(input, 0x20), where), word)
            }
        } else {
            cut = 4 + cut % (input.length - 4);
            assembly {
                mstore(input, cut)
            }
        }
        uint64 before = seq();
        (bool ok,) = address(waybill).call(input);
        (uint48 deadline, uint104 outstanding,,) = waybill.state(task, 0, Words.id(n));
        bool applied = deadline != 0;
        vm.assertEq(seq(), before + (applied ? 1 : 0));
        if (applied) vm.assertTrue(ok && outstanding == 6 && deadline == n.deadline);
    }

    function testFuzz_rawCalldataChangesNothing(bytes calldata tail) public {
        uint256 snapshot = watch();
        (bool ok,) = address(waybill).call{gas: 10_000_000}(abi.encodePacked(IWaybill.relay.selector, tail));
        ok;
        assertNothingChanged(snapshot);
    }

    /// @dev An item of every kind; each may be relayed beside the others, in this order.
    function _everyKind() private returns (Item[8] memory all) {
        for (uint8 kind; kind < 8; ++kind) {
            all[kind] = _ofKind(kind);
        }
        all[Kind.EXPEL] = changeItem(Kind.EXPEL, one(member(4)), roster() + 1);
    }

    function _ofKind(uint8 kind) private returns (Item memory) {
        if (kind == Kind.OPEN) return openItem("new", accounts(0, 2));
        if (kind == Kind.ADMIT) return changeItem(Kind.ADMIT, one(member(9)), roster());
        if (kind == Kind.EXPEL) return changeItem(Kind.EXPEL, one(member(4)), roster());
        if (kind == Kind.NOTICE) return noticeItem(newNotice(2));
        if (kind == Kind.RECEIPTS) return receiptItem(keyOf(1), noticed(6), 1);
        if (kind == Kind.WITHDRAW) return withdrawItem(noticed(2));
        if (kind == Kind.MESSAGE) return messageItem(newMessage());
        Notice memory n = noticed(6);
        return walletItem(member(2), n, 2, sign(keyOf(2), Words.hashWalletReceipt(task, Words.id(n), 2, member(2))));
    }

    function _assertMalformed(Item memory item, uint256 word, uint256 place) private {
        item.data[32 * word + place] ^= 0x01;
        relaySkipped(item, Reason.MALFORMED, 0);
    }
}
