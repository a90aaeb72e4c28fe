// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";

/// @dev One group of a Receipts event.
struct Group {
    bytes32 notice;
    uint8 outcome;
    bytes[] signatures;
}

/// @dev What a relay's Receipts events must say, by the words of IWaybill.sol: told item by item, compared with the logs.
struct Tale {
    bytes32 task; // of the event that is being told
    bytes groups;
    uint256 length; // how many events are told
    bytes32[] tasks;
    bytes[] told;
}

library Tales {
    /// @dev Room for so many events.
    function begin(uint256 events) internal pure returns (Tale memory t) {
        t.tasks = new bytes32[](events);
        t.told = new bytes[](events);
    }

    /// @dev A readable item of which these signatures counted, or none.
    function item(Tale memory t, bytes32 task, bytes32 notice, uint8 outcome, bytes memory counted) internal pure {
        if (t.task != task) end(t);
        t.task = task;
        if (counted.length == 0) return;
        t.groups = bytes.concat(t.groups, notice, bytes1(outcome), bytes1(uint8(counted.length / 65)), counted);
    }

    /// @dev The run is over.
    function end(Tale memory t) internal pure {
        if (t.groups.length != 0) {
            (t.tasks[t.length], t.told[t.length]) = (t.task, t.groups);
            ++t.length;
        }
        (t.task, t.groups) = (0, "");
    }

    /// @dev These logs' Receipts events are the tale's, byte for byte; each says its place in its task's line itself.
    function assertIn(Tale memory t, Vm.Log[] memory logs) internal pure {
        uint256 found;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != IWaybill.Receipts.selector) continue;
            vm.assertTrue(found < t.length, "an event too many");
            vm.assertEq(logs[i].topics[1], t.tasks[found], "the event's task");
            (uint64 seq, uint64 prevBlock) = abi.decode(logs[i].data, (uint64, uint64));
            vm.assertEq(logs[i].data, abi.encode(seq, prevBlock, t.told[found]), "what the event tells");
            ++found;
        }
        vm.assertEq(found, t.length, "all events");
    }

    /// @dev The groups of a Receipts event's `receipts`, to their last byte.
    function groups(bytes memory packed) internal pure returns (Group[] memory list) {
        uint256 length;
        list = new Group[](packed.length / 99);
        for (uint256 place; place < packed.length; ++length) {
            vm.assertTrue(packed.length - place >= 99, "a group is whole");
            Group memory g = list[length];
            g.notice = bytes32(slice(packed, place, 32));
            g.outcome = uint8(packed[place + 32]);
            g.signatures = new bytes[](uint8(packed[place + 33]));
            vm.assertTrue(g.signatures.length != 0 && g.signatures.length <= 104, "1 to 104 signatures");
            place += 34;
            for (uint256 i; i < g.signatures.length; ++i) {
                g.signatures[i] = slice(packed, place, 65);
                place += 65;
            }
        }
        vm.assertTrue(length != 0, "an event tells of something");
        assembly {
            mstore(list, length)
        }
    }

    function slice(bytes memory data, uint256 from, uint256 length) internal pure returns (bytes memory part) {
        vm.assertTrue(from + length <= data.length, "inside");
        part = new bytes(length + 31); // whole words are copied
        assembly ("memory-safe") {
            let source := add(add(data, 0x20), from)
            let target := add(part, 0x20)
            for { let i := 0 } lt(i, length) { i := add(i, 0x20) } { mstore(add(target, i), mload(add(source, i))) }
            mstore(part, length)
        }
    }
}
