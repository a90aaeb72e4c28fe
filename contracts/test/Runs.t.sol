// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Tale, Tales} from "./Tale.sol";
import {vm} from "./Vm.sol";
import {Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

/// @dev Receipts items in a row, and the events that tell of them.
contract RunsTest is World {
    using Tales for Tale;

    bytes32 internal first;
    bytes32 internal second;

    function setUp() public override {
        super.setUp();
        first = task;
        second = opened("second", accounts(0, 5));
    }

    function test_receiptsOfSeveralNoticesAreToldInOneEvent() public {
        Notice memory a = noticed(6);
        Notice memory b = noticed(6);
        Item[] memory list = new Item[](3);
        list[0] = _receipts(a, 1, [uint256(2), 1]);
        list[1] = receiptItem(keyOf(1), b, Outcome.CORRUPT);
        list[2] = receiptItem(keyOf(2), b, Outcome.VERIFIED);
        vm.roll(block.number + 3);
        Relayed memory r = relayed(list);
        vm.assertEq(r.logs.length, 1, "one event");
        vm.assertEq(r.logs[0].topics.length, 2);
        vm.assertEq(r.logs[0].topics[0], keccak256("Receipts(bytes32,uint64,uint64,bytes)"));
        vm.assertEq(r.logs[0].topics[1], task);
        bytes memory told = bytes.concat(
            abi.encodePacked(Words.id(a), uint8(1), uint8(2), list[0].signatures),
            abi.encodePacked(Words.id(b), uint8(2), uint8(1), list[1].signatures),
            abi.encodePacked(Words.id(b), uint8(1), uint8(1), list[2].signatures)
        );
        vm.assertEq(r.logs[0].data, abi.encode(4, block.number - 3, told));
        vm.assertEq(seq(), 4);
        assertState(a, 0, 6, false);
        assertState(b, 0, 4, false);
    }

    function test_whatDoesNotCountIsInNoGroup() public {
        Notice memory a = noticed(6);
        Notice memory b = noticed(6);
        Item[] memory list = new Item[](4);
        list[0] = receiptItem(STRANGER, a, 1);
        list[1] = _receipts(a, 1, [STRANGER, keyOf(1)]);
        list[2] = receiptItem(keyOf(1), a, 1);
        list[3] = _receipts(b, 1, [keyOf(2), keyOf(2)]);
        Relayed memory r = relayed(list);
        _assertCodes(r, bytes.concat(abi.encode(Reason.UNKNOWN_MEMBER, Reason.UNKNOWN_MEMBER, 0), abi.encode(Reason.DUPLICATE, 0, Reason.DUPLICATE)));
        Tale memory t = Tales.begin(1);
        t.item(task, Words.id(a), 1, receiptSignature(keyOf(1), a, 1));
        t.item(task, Words.id(b), 1, receiptSignature(keyOf(2), b, 1));
        t.end();
        t.assertIn(r.logs);
        vm.assertEq(seq(), 4);
    }

    function test_aRunThatCountedNothingIsNotTold() public {
        Notice memory n = noticed(2);
        relayedInVain(items(receiptItem(STRANGER, n, 1), receiptItem(keyOf(2), n, 1), receiptItem(keyOf(1), n, 5)));
        vm.assertEq(seq(), 2);
    }

    function test_skippedReceiptsAreToldBeforeTheRun() public {
        Notice memory n = noticed(6);
        Relayed memory r =
            relayed(items(receiptItem(keyOf(1), n, 1), receiptItem(STRANGER, n, 1), receiptItem(keyOf(2), n, 1)));
        vm.assertEq(r.logs.length, 2);
        vm.assertEq(r.logs[0].topics[0], IWaybill.Skipped.selector);
        vm.assertEq(r.logs[1].topics[0], IWaybill.Receipts.selector);
    }

    function test_anotherTaskEndsTheEvent() public {
        Notice memory a = noticed(6);
        task = second;
        Notice memory b = noticed(6);
        Item[] memory list = new Item[](4);
        list[0] = receiptItem(keyOf(1), a, 1);
        list[1] = receiptItem(keyOf(1), b, 1);
        list[2] = receiptItem(keyOf(2), b, 1);
        list[3] = receiptItem(keyOf(2), a, 1);
        Relayed memory r = relayed(list);
        Tale memory t = Tales.begin(3);
        t.item(first, Words.id(a), 1, list[0].signatures);
        t.item(second, Words.id(b), 1, list[1].signatures);
        t.item(second, Words.id(b), 1, list[2].signatures);
        t.item(first, Words.id(a), 1, list[3].signatures);
        t.end();
        t.assertIn(r.logs);
        vm.assertEq(abi.encode(_placesOf(r, first)), abi.encode([3, 4]));
        vm.assertEq(abi.encode(_placesOf(r, second)[0]), abi.encode(3));
        assertState(a, 0, 6, false);
        assertState(b, 0, 6, false);
    }

    /// @dev Also when nothing of it counts: then the first task's receipts are two events all the same.
    function test_receiptsOfATaskThatIsNotThereEndTheEvent() public {
        Notice memory n = noticed(6);
        bytes32[2] memory nowhere = [bytes32(0), keccak256("none")];
        for (uint256 i; i < 2; ++i) {
            Item memory lost = Item(
                Kind.RECEIPTS,
                abi.encode(nowhere[i], Words.id(n), 1),
                sign(keyOf(1), Words.hashReceipt(nowhere[i], Words.id(n), 1))
            );
            n = noticed(6);
            Item[] memory list = new Item[](5);
            (list[0], list[2], list[4]) = (lost, lost, lost);
            (list[1], list[3]) = (receiptItem(keyOf(1), n, 1), receiptItem(keyOf(2), n, 1));
            Relayed memory r = relayed(list);
            _assertCodes(r, abi.encode(Reason.UNKNOWN_TASK, 0, Reason.UNKNOWN_TASK, 0, Reason.UNKNOWN_TASK));
            Tale memory t = Tales.begin(2);
            t.item(task, Words.id(n), 1, list[1].signatures);
            t.end();
            t.item(task, Words.id(n), 1, list[3].signatures);
            t.end();
            t.assertIn(r.logs);
            (uint64 place, uint64 block_) = waybill.latest(nowhere[i]);
            vm.assertEq(place + block_, 0);
        }
    }

    function test_anItemThatCannotBeReadDoesNotEndTheEvent() public {
        Notice memory n = noticed(6);
        Item[] memory list = new Item[](4);
        list[0] = receiptItem(keyOf(1), n, 1);
        list[1] = Item(Kind.RECEIPTS, hex"00", list[0].signatures);
        list[2] = Item(Kind.RECEIPTS, receiptData(n, 1), hex"00");
        list[3] = receiptItem(keyOf(2), n, 1);
        Relayed memory r = relayed(list);
        _assertCodes(r, abi.encode(0, Reason.MALFORMED, Reason.BAD_SIGNATURE, 0));
        Tale memory t = Tales.begin(1);
        t.item(task, Words.id(n), 1, list[0].signatures);
        t.item(task, Words.id(n), 1, list[3].signatures);
        t.end();
        t.assertIn(r.logs);
    }

    function test_everyOtherKindEndsTheEventBeforeItTakesEffect() public {
        for (uint8 kind; kind < 9; ++kind) {
            if (kind == Kind.RECEIPTS) continue;
            uint64 before = seq();
            Notice memory n = noticed(14);
            Item memory other = _otherThanReceipts(kind, n);
            Relayed memory r = relayed(items(receiptItem(keyOf(1), n, 1), other, receiptItem(keyOf(3), n, 1)));
            vm.assertEq(r.logs.length, 3);
            vm.assertEq(r.logs[0].topics[0], IWaybill.Receipts.selector, "the run before it");
            vm.assertTrue(r.logs[1].topics[0] != IWaybill.Receipts.selector, "the item");
            bool withdrawn = kind == Kind.WITHDRAW; // what comes behind it is too late
            vm.assertTrue((r.logs[2].topics[0] == IWaybill.Receipts.selector) != withdrawn, "the run behind it");
            vm.assertEq(seq() - before, withdrawn || kind == Kind.OPEN || kind == 8 ? 3 : 4);
        }
    }

    function test_aWholePageIsOneGroup() public {
        task = opened("page", accounts(0, 105));
        Notice memory n = noticed((1 << PAGE) - 1);
        bytes memory signatures;
        for (uint256 i; i < PAGE; ++i) {
            signatures = bytes.concat(signatures, receiptSignature(keyOf(i), n, 1));
        }
        bytes memory stranger = receiptSignature(STRANGER, n, 1);
        bytes memory sent = bytes.concat(stranger, signatures, receiptSignature(keyOf(104), n, 1));
        Relayed memory r = relayed(items(Item(Kind.RECEIPTS, receiptData(n, 1), sent)));
        Tale memory t = Tales.begin(1);
        t.item(task, Words.id(n), 1, signatures);
        t.end();
        t.assertIn(r.logs);
        assertState(n, 0, (1 << PAGE) - 1, false);
    }

    /// @dev Authors of two pages in one item: only those of the notice's own page are told.
    function test_authorsOfAnotherPageAreInNoGroup() public {
        task = opened("pages", accounts(0, 107));
        Notice memory n = newNotice(6);
        n.page = 1;
        relay(noticeItem(n), Reason.OK);
        bytes memory signatures;
        for (uint256 i = 103; i < 107; ++i) {
            signatures = bytes.concat(signatures, receiptSignature(keyOf(i), n, 1), receiptSignature(keyOf(1), n, 1));
        }
        Relayed memory r = relayed(items(Item(Kind.RECEIPTS, receiptData(n, 1), signatures)));
        Tale memory t = Tales.begin(1);
        bytes memory counted =
            bytes.concat(receiptSignature(keyOf(105), n, 1), receiptSignature(keyOf(106), n, 1));
        t.item(task, Words.id(n), 1, counted);
        t.end();
        t.assertIn(r.logs);
        assertState(n, 0, 6, false);
    }

    /// @dev Nobody has to pay for signatures twice: any 65 bytes are somebody's for every digest, so items may share them,
    /// and what a run tells can be longer than its calldata. Neither the events nor the codes may suffer.
    function test_itemsThatShareTheirSignaturesAreToldWhole() public {
        uint256 notices = 10;
        uint256 each = 20;
        bytes memory signatures;
        for (uint256 k; k < each; ++k) {
            signatures = bytes.concat(signatures, receiptSignature(keyOf(k), newNotice(1), 1));
        }
        Notice[] memory list = new Notice[](notices);
        address[] memory members = new address[](1 + notices * each);
        members[0] = member(0);
        task = Words.task(addressOf(OWNER), "shared");
        for (uint256 i; i < notices; ++i) {
            list[i] = newNotice(0);
            // Its page and bits are those of the authors that its words make of the signatures.
            list[i].page = uint16((1 + i * each) / PAGE);
            list[i].recipients = ((1 << each) - 1) << ((1 + i * each) % PAGE);
            if ((1 + i * each) % PAGE + each > PAGE) list[i].recipients &= (1 << PAGE) - 1;
            for (uint256 k; k < each; ++k) {
                members[1 + i * each + k] = _authorOf(signatures, k, list[i]);
            }
        }
        opened("shared", members);
        for (uint256 i; i < notices; ++i) {
            relay(noticeItem(list[i]), Reason.OK);
        }
        bytes memory input = _sharing(list, signatures);
        vm.recordLogs();
        (bool ok, bytes memory output) = address(waybill).call(input);
        vm.assertTrue(ok);
        uint8[][] memory codes = abi.decode(output, (uint8[][]));
        Tale memory t = Tales.begin(1);
        for (uint256 i; i < notices; ++i) {
            uint256 counted = _bits(list[i].recipients);
            vm.assertEq(codes[i].length, each);
            for (uint256 k; k < each; ++k) {
                vm.assertEq(codes[i][k], k < counted ? Reason.OK : Reason.UNKNOWN_NOTICE, "codes stay");
            }
            t.item(task, Words.id(list[i]), 1, Tales.slice(signatures, 0, 65 * counted));
            assertState(list[i], 0, list[i].recipients, false);
        }
        t.end();
        vm.assertTrue(t.told[0].length > 2 * input.length, "longer than the calldata");
        t.assertIn(vm.getRecordedLogs());
    }

    /// @dev Any items in a row, of two tasks and of one that isn't there, good and bad: the events tell what counted.
    function testFuzz_aRunIsToldAsItHappened(uint256 seed, uint8 length) public {
        Notice[4] memory list;
        for (uint256 i; i < 4; ++i) {
            task = i < 2 ? first : second;
            list[i] = noticed(0x1e);
        }
        Item[] memory run = new Item[](length % 6 + 1);
        bytes memory codes;
        Tale memory t = Tales.begin(run.length);
        uint256[4] memory left = [uint256(0x1e), 0x1e, 0x1e, 0x1e];
        for (uint256 i; i < run.length; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            bytes memory said;
            (run[i], said) = dice % 8 == 0 ? _useless(list[0], dice, t) : _useful(list, left, dice, t);
            codes = bytes.concat(codes, said);
        }
        t.end();
        Relayed memory r = relayed(run);
        _assertCodes(r, codes);
        t.assertIn(r.logs);
        for (uint256 i; i < 4; ++i) {
            (, uint104 outstanding,,) = waybill.state(list[i].task, 0, Words.id(list[i]));
            vm.assertEq(outstanding, left[i]);
        }
    }

    /// @dev One to three authors' item about one of the notices.
    function _useful(Notice[4] memory list, uint256[4] memory left, uint256 dice, Tale memory t)
        private
        view
        returns (Item memory item, bytes memory codes)
    {
        uint256 which = (dice >> 8) % 4;
        Notice memory n = list[which];
        bytes memory counted;
        item = Item(Kind.RECEIPTS, receiptData(n, 1), "");
        for (uint256 i; i < (dice >> 16) % 3 + 1; ++i) {
            uint256 author = (dice >> (24 + 8 * i)) % 5;
            bytes memory s = receiptSignature(keyOf(author), n, 1);
            item.signatures = bytes.concat(item.signatures, s);
            bool counts = left[which] >> author & 1 != 0;
            codes = bytes.concat(
                codes, abi.encode(counts ? Reason.OK : author == 0 ? Reason.NOT_OUTSTANDING : Reason.DUPLICATE)
            );
            if (!counts) continue;
            left[which] ^= 1 << author;
            counted = bytes.concat(counted, s);
        }
        t.item(n.task, Words.id(n), 1, counted);
    }

    /// @dev A stranger's, one that can't be read, or one of a task that isn't there.
    function _useless(Notice memory n, uint256 dice, Tale memory t)
        private
        view
        returns (Item memory item, bytes memory codes)
    {
        uint256 how = (dice >> 8) % 4;
        item = receiptItem(STRANGER, n, 1);
        if (how == 0) {
            item.data = bytes.concat(item.data, hex"00");
            return (item, abi.encode(Reason.MALFORMED));
        }
        if (how == 1) {
            item.signatures = "";
            return (item, abi.encode(Reason.BAD_SIGNATURE));
        }
        if (how == 2) {
            t.item(n.task, 0, 0, "");
            return (item, abi.encode(Reason.UNKNOWN_MEMBER));
        }
        t.item("none", 0, 0, "");
        item.data = abi.encode(bytes32("none"), Words.id(n), 1);
        return (item, abi.encode(Reason.UNKNOWN_TASK));
    }

    function _receipts(Notice memory n, uint8 outcome, uint256[2] memory keys) private view returns (Item memory) {
        for (uint256 i; i < 2; ++i) {
            if (keys[i] < 5) keys[i] = keyOf(keys[i]);
        }
        bytes memory a = receiptSignature(keys[0], n, outcome);
        return Item(Kind.RECEIPTS, receiptData(n, outcome), bytes.concat(a, receiptSignature(keys[1], n, outcome)));
    }

    function _otherThanReceipts(uint8 kind, Notice memory n) private returns (Item memory) {
        if (kind == Kind.OPEN) return openItem(bytes32(uint256(seq())), accounts(0, 2));
        if (kind == Kind.ADMIT) return changeItem(kind, one(member(9)), roster());
        if (kind == Kind.EXPEL) return changeItem(kind, one(member(9)), roster());
        if (kind == Kind.NOTICE) return noticeItem(newNotice(2));
        if (kind == Kind.WITHDRAW) return withdrawItem(n);
        if (kind == Kind.MESSAGE) return messageItem(newMessage());
        Item memory item = receiptItem(keyOf(2), n, 1);
        if (kind == 8) return Item(8, item.data, item.signatures);
        return
            walletItem(member(2), n, 2, sign(keyOf(2), Words.hashWalletReceipt(task, Words.id(n), 2, member(2))));
    }

    /// @dev A relay's first codes, item by item.
    function _assertCodes(Relayed memory r, bytes memory expected) private pure {
        bytes memory codes;
        for (uint256 i; i < r.codes.length; ++i) {
            codes = bytes.concat(codes, abi.encodePacked(r.codes[i]));
        }
        vm.assertEq(codes, expected, "codes");
    }

    /// @dev Where a task's events stand in its line.
    function _placesOf(Relayed memory r, bytes32 which) private pure returns (uint256[2] memory places) {
        uint256 found;
        for (uint256 i; i < r.logs.length; ++i) {
            if (r.logs[i].topics[1] != which) continue;
            (places[found++],) = abi.decode(r.logs[i].data, (uint256, uint256));
        }
    }

    /// @dev Whose signature of a receipt for the notice the k-th one is.
    function _authorOf(bytes memory signatures, uint256 k, Notice memory n) private view returns (address) {
        bytes memory s = Tales.slice(signatures, 65 * k, 65);
        (bytes32 r, bytes32 s_) = abi.decode(s, (bytes32, bytes32));
        bytes32 digest = Words.digest(domain, Words.hashReceipt(n.task, Words.id(n), 1));
        return ecrecover(digest, uint8(s[64]), r, s_);
    }

    function _bits(uint256 mask) private pure returns (uint256 count) {
        for (; mask != 0; mask &= mask - 1) {
            ++count;
        }
    }

    /// @dev A relay of receipts for each notice, all of which lead to the same signatures.
    function _sharing(Notice[] memory list, bytes memory signatures) private pure returns (bytes memory) {
        uint256 heads = 32 * list.length;
        uint256 shared = heads + 224 * list.length;
        bytes memory places;
        bytes memory all;
        for (uint256 i; i < list.length; ++i) {
            uint256 head = heads + 224 * i;
            places = bytes.concat(places, abi.encode(head));
            all = bytes.concat(all, abi.encode(Kind.RECEIPTS, 0x60, shared - head, 0x60), receiptData(list[i], 1));
        }
        return abi.encodePacked(
            IWaybill.relay.selector, abi.encode(0x20, list.length), places, all, abi.encode(signatures.length), signatures
        );
    }
}
