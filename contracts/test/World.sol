// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Message, Notice, Words} from "./Words.sol";

/// @dev A chain with the contract on it and one task of five members, whose keys the tests hold.
abstract contract World {
    uint256 internal constant OWNER = uint256(keccak256("owner"));
    uint256 internal constant STRANGER = uint256(keccak256("stranger"));
    bytes32 internal constant SALT = keccak256("salt");
    uint256 internal constant EVERYONE = type(uint256).max;
    uint256 internal constant PAGE = 104;

    IWaybill internal waybill;
    bytes32 internal domain;
    bytes32 internal task;
    uint256 private _count;
    /// @dev Deriving an address costs more than everything else in most tests.
    mapping(uint256 key => address) private _addresses;

    function setUp() public virtual {
        deploy();
        for (uint256 i; i < 10; ++i) {
            _addresses[keyOf(i)] = vm.addr(keyOf(i));
        }
        _addresses[OWNER] = vm.addr(OWNER);
        task = opened(SALT, accounts(0, 5));
    }

    /// @dev The contract as it is deployed: compiled by contracts/forge.mjs with the artifact's settings.
    function deploy() internal {
        bytes memory code = vm.parseJsonBytes(vm.readFile("../node_modules/.forge/Waybill.json"), ".bytecode");
        address place;
        assembly {
            place := create(0, add(code, 0x20), mload(code))
        }
        waybill = IWaybill(place);
        domain = Words.domain(block.chainid, place);
    }

    // Parties

    function keyOf(uint256 index) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("member", index))) >> 1;
    }

    function addressOf(uint256 key) internal view returns (address account) {
        account = _addresses[key];
        if (account == address(0)) account = vm.addr(key);
    }

    function member(uint256 index) internal view returns (address) {
        return addressOf(keyOf(index));
    }

    function accounts(uint256 from, uint256 count) internal view returns (address[] memory list) {
        list = new address[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = member(from + i);
        }
    }

    function one(address account) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = account;
    }

    /// @dev Accounts whose keys nobody has: they only take places.
    function fillers(uint256 count) internal pure returns (address[] memory list) {
        list = new address[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = address(uint160(0xf000_0000 + i));
        }
    }

    // Statements

    function sign(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        return Words.sign(key, domain, structHash);
    }

    function openItem(bytes32 salt, address[] memory members) internal view returns (Item memory) {
        address owner = addressOf(OWNER);
        return Item(
            Kind.OPEN,
            abi.encodePacked(abi.encode(owner, salt, 0x60, members.length), words(members)),
            sign(OWNER, Words.hashOpen(owner, salt, members))
        );
    }

    function words(address[] memory members) internal pure returns (bytes memory) {
        return abi.encodePacked(members); // packed arrays keep whole words
    }

    function changeItem(uint8 kind, address[] memory members, uint256 version) internal view returns (Item memory) {
        return changeItem(OWNER, kind, members, version);
    }

    function changeItem(uint256 key, uint8 kind, address[] memory members, uint256 version)
        internal
        view
        returns (Item memory)
    {
        bytes memory head = abi.encode(task, 0x60, version, members.length);
        return
            Item(
                kind, abi.encodePacked(head, words(members)), sign(key, Words.hashChange(kind, task, members, version))
            );
    }

    /// @dev A notice of the first member to the given bits of page 0 for the next hour, unlike every other.
    function newNotice(uint256 recipients) internal returns (Notice memory) {
        bytes32 transfer = keccak256(abi.encode("transfer", ++_count));
        return Notice(task, member(0), 0, recipients, transfer, keccak256("manifest"), uint48(block.timestamp + 3600));
    }

    function noticeItem(uint256 key, Notice memory n) internal view returns (Item memory) {
        return Item(Kind.NOTICE, abi.encode(n), sign(key, Words.hash(n)));
    }

    function noticeItem(Notice memory n) internal view returns (Item memory) {
        return noticeItem(keyOf(0), n);
    }

    function receiptData(Notice memory n, uint256 outcome) internal pure returns (bytes memory) {
        return abi.encode(n.task, Words.id(n), outcome);
    }

    function receiptSignature(uint256 key, Notice memory n, uint256 outcome) internal view returns (bytes memory) {
        return sign(key, Words.hashReceipt(n.task, Words.id(n), outcome));
    }

    function receiptItem(uint256 key, Notice memory n, uint256 outcome) internal view returns (Item memory) {
        return Item(Kind.RECEIPTS, receiptData(n, outcome), receiptSignature(key, n, outcome));
    }

    function walletItem(address wallet, Notice memory n, uint256 outcome, bytes memory signature)
        internal
        pure
        returns (Item memory)
    {
        return Item(Kind.WALLET_RECEIPT, abi.encode(n.task, Words.id(n), outcome, wallet), signature);
    }

    function withdrawItem(uint256 key, Notice memory n) internal view returns (Item memory) {
        return Item(Kind.WITHDRAW, abi.encode(n), sign(key, Words.hashWithdraw(n)));
    }

    function withdrawItem(Notice memory n) internal view returns (Item memory) {
        return withdrawItem(keyOf(0), n);
    }

    function newMessage() internal returns (Message memory) {
        bytes32 salt = keccak256(abi.encode("message", ++_count));
        return Message(task, member(0), 0, EVERYONE, "start_round", hex"1234", salt, uint48(block.timestamp + 3600));
    }

    function messageItem(uint256 key, Message memory m) internal view returns (Item memory) {
        return Item(Kind.MESSAGE, Words.encode(m), sign(key, Words.hash(m)));
    }

    function messageItem(Message memory m) internal view returns (Item memory) {
        return messageItem(keyOf(0), m);
    }

    // Relaying

    function items(Item memory a) internal pure returns (Item[] memory list) {
        list = new Item[](1);
        list[0] = a;
    }

    function items(Item memory a, Item memory b) internal pure returns (Item[] memory list) {
        list = new Item[](2);
        (list[0], list[1]) = (a, b);
    }

    function items(Item memory a, Item memory b, Item memory c) internal pure returns (Item[] memory list) {
        list = new Item[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    /// @dev What a relay did.
    struct Relayed {
        uint8[][] codes;
        Vm.Log[] logs;
    }

    function relayed(Item[] memory list) internal returns (Relayed memory r) {
        vm.recordLogs();
        r.codes = waybill.relay(list);
        r.logs = vm.getRecordedLogs();
    }

    /// @dev Relays what must change nothing.
    function relayedInVain(Item[] memory list) internal returns (Relayed memory r) {
        uint256 snapshot = watch();
        r = relayed(list);
        assertNothingChanged(snapshot);
    }

    function watch() internal returns (uint256 snapshot) {
        snapshot = vm.snapshotState();
        vm.record();
    }

    /// @dev Compares each slot that was written since with what it was. (State diffs tell the same, but copy the code of all
    /// that is called.)
    function assertNothingChanged(uint256 snapshot) internal {
        (, bytes32[] memory slots) = vm.accesses(address(waybill));
        if (slots.length == 0) {
            vm.deleteStateSnapshot(snapshot);
            return;
        }
        bytes32[] memory written = new bytes32[](slots.length);
        for (uint256 i; i < slots.length; ++i) {
            written[i] = vm.load(address(waybill), slots[i]);
        }
        vm.revertToStateAndDelete(snapshot);
        for (uint256 i; i < slots.length; ++i) {
            vm.assertEq(written[i], vm.load(address(waybill), slots[i]), "a skipped statement changes nothing");
        }
    }

    /// @dev Relays one item and expects this one code, and what goes with it: one event of the task when it was applied;
    /// otherwise Skipped alone, and nothing else on the chain.
    function relay(Item memory item, uint8 expected) internal returns (Vm.Log memory log) {
        Relayed memory r = expected == Reason.OK ? relayed(items(item)) : relayedInVain(items(item));
        vm.assertEq(r.codes.length, 1, "codes of one item");
        vm.assertEq(r.codes[0].length, 1, "one code");
        vm.assertEq(r.codes[0][0], expected, "the reason");
        vm.assertEq(r.logs.length, 1, "one event");
        log = r.logs[0];
        if (expected == Reason.OK) {
            vm.assertTrue(log.topics[0] != IWaybill.Skipped.selector, "applied, yet skipped");
        } else {
            vm.assertEq(log.topics[0], IWaybill.Skipped.selector, "skipped");
            vm.assertEq(abi.decode(log.data, (uint8)), expected, "the reason in the event");
        }
    }

    function relaySkipped(Item memory item, uint8 expected, bytes32 id) internal {
        vm.assertEq(relay(item, expected).topics[1], id, "the skipped statement's id");
    }

    function opened(bytes32 salt, address[] memory members) internal returns (bytes32) {
        relay(openItem(salt, members), Reason.OK);
        return Words.task(addressOf(OWNER), salt);
    }

    function noticed(uint256 recipients) internal returns (Notice memory n) {
        n = newNotice(recipients);
        relay(noticeItem(n), Reason.OK);
    }

    function verified(uint256 index, Notice memory n) internal {
        relay(receiptItem(keyOf(index), n, Outcome.VERIFIED), Reason.OK);
    }

    function admitOne(address account) internal {
        relay(changeItem(Kind.ADMIT, one(account), roster()), Reason.OK);
    }

    function expelOne(address account) internal {
        relay(changeItem(Kind.EXPEL, one(account), roster()), Reason.OK);
    }

    // What the chain says

    function roster() internal view returns (uint32 value) {
        (, value,) = waybill.roster(task);
    }

    function seq() internal view returns (uint64 value) {
        (value,) = waybill.latest(task);
    }

    function assertState(Notice memory n, uint256 outstanding, uint256 verifiedBits, bool withdrawn) internal view {
        (uint48 deadline, uint104 open, uint104 done, bool back) = waybill.state(n.task, n.page, Words.id(n));
        vm.assertEq(deadline, n.deadline, "deadline");
        vm.assertEq(open, outstanding, "outstanding");
        vm.assertEq(done, verifiedBits, "verified");
        vm.assertEq(back ? 1 : 0, withdrawn ? 1 : 0, "withdrawn");
    }

    function assertUnknown(Notice memory n) internal view {
        (uint48 deadline, uint104 open, uint104 done, bool back) = waybill.state(n.task, n.page, Words.id(n));
        vm.assertTrue(deadline == 0 && open == 0 && done == 0 && !back, "no such notice");
    }
}
