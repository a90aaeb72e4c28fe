// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Member, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

contract RostersTest is World {
    function test_anOpenGivesItsMembersTheIndicesFromZero() public view {
        for (uint256 i; i < 5; ++i) {
            _assertMember(member(i), i, true);
        }
        (address owner, uint32 version, uint32 count) = waybill.roster(task);
        vm.assertEq(owner, addressOf(OWNER));
        vm.assertEq(abi.encode(version, count), abi.encode(1, 5));
    }

    function test_anOpensEventIsTheFirstOfItsTask() public {
        address[] memory members = accounts(0, 2);
        Item memory item = openItem("new", members);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.Opened.selector);
        vm.assertEq(log.topics[1], Words.task(addressOf(OWNER), "new"));
        vm.assertEq(log.data, abi.encode(1, 0, addressOf(OWNER), bytes32("new"), members, item.signatures));
    }

    function test_theSameOpenTwiceIsADuplicate() public {
        address[] memory members = accounts(0, 5);
        bytes32 hash = Words.hashOpen(addressOf(OWNER), SALT, members);
        relaySkipped(openItem(SALT, members), Reason.DUPLICATE, Words.id(hash, addressOf(OWNER)));
    }

    function test_anOpenIsADuplicateAfterRosterChangesToo() public {
        admitOne(member(7));
        expelOne(member(1));
        relay(openItem(SALT, accounts(0, 5)), Reason.DUPLICATE);
    }

    function test_anotherOpenOfTheSameTaskIsAnsweredTaskExists() public {
        relay(openItem(SALT, accounts(0, 4)), Reason.TASK_EXISTS);
        _assertMember(member(4), 4, true);
    }

    function test_anOpenThatTheOwnerDidNotSignIsSkipped() public {
        Item memory item = openItem("new", accounts(0, 2));
        item.signatures = sign(STRANGER, Words.hashOpen(addressOf(OWNER), "new", accounts(0, 2)));
        relay(item, Reason.BAD_SIGNATURE);
        _assertVersion(Words.task(addressOf(OWNER), "new"), 0, 0);
    }

    function test_aRepeatedAccountInAnOpenGetsOneIndex() public {
        address[] memory members = accounts(0, 3);
        members[1] = members[0];
        task = opened("new", members);
        _assertMember(member(0), 0, true);
        _assertMember(member(2), 1, true);
        _assertVersion(task, 1, 2);
    }

    function test_anOpenHasOneTo256MembersAndNoneIsZero() public {
        relay(openItem("a", fillers(0)), Reason.BAD_MEMBERS);
        relay(openItem("a", fillers(257)), Reason.BAD_MEMBERS);
        address[] memory members = fillers(3);
        members[1] = address(0);
        relay(openItem("a", members), Reason.BAD_MEMBERS);
        relay(openItem("a", fillers(256)), Reason.OK);
    }

    function test_admitGivesNewAccountsTheNextIndices() public {
        Item memory item = changeItem(Kind.ADMIT, accounts(5, 2), 1);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.Admitted.selector);
        vm.assertEq(log.topics[1], task);
        vm.assertEq(log.data, abi.encode(2, block.number, 1, accounts(5, 2), item.signatures));
        _assertMember(member(5), 5, true);
        _assertMember(member(6), 6, true);
        _assertVersion(task, 2, 7);
    }

    function test_admitPassesOverActiveAccountsAndRepeats() public {
        address[] memory members = accounts(4, 4);
        members[2] = members[1];
        relay(changeItem(Kind.ADMIT, members, 1), Reason.OK);
        _assertMember(member(4), 4, true);
        _assertMember(member(5), 5, true);
        _assertMember(member(7), 6, true);
        _assertVersion(task, 2, 7);
    }

    function test_expelEndsMembershipAndKeepsTheIndex() public {
        Item memory item = changeItem(Kind.EXPEL, accounts(1, 2), 1);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.Expelled.selector);
        vm.assertEq(log.data, abi.encode(2, block.number, 1, accounts(1, 2), item.signatures));
        _assertMember(member(1), 1, false);
        _assertMember(member(2), 2, false);
        _assertMember(member(3), 3, true);
        _assertVersion(task, 2, 5);
    }

    function test_expelPassesOverInactiveAccountsStrangersAndRepeats() public {
        address[] memory members = accounts(1, 3);
        members[1] = vm.addr(STRANGER);
        members[2] = members[0];
        relay(changeItem(Kind.EXPEL, members, 1), Reason.OK);
        relay(changeItem(Kind.EXPEL, members, 2), Reason.OK);
        _assertMember(member(1), 1, false);
        (,, bool known) = waybill.member(task, vm.addr(STRANGER));
        vm.assertFalse(known);
        _assertVersion(task, 3, 5);
    }

    function test_anAccountAdmittedAgainGetsANewIndex() public {
        expelOne(member(1));
        admitOne(member(1));
        _assertMember(member(1), 5, true);
        Member[] memory all = waybill.members(task, 0, 10);
        vm.assertEq(all.length, 6);
        vm.assertEq(all[1].account, member(1));
        vm.assertFalse(all[1].active);
        vm.assertTrue(all[5].active);
    }

    function test_onlyTheOwnerChangesTheRoster() public {
        relay(changeItem(STRANGER, Kind.ADMIT, one(vm.addr(STRANGER)), 1), Reason.BAD_SIGNATURE);
        relay(changeItem(keyOf(0), Kind.EXPEL, one(member(1)), 1), Reason.BAD_SIGNATURE);
        _assertVersion(task, 1, 5);
    }

    function test_anAdmitsSignatureIsNoExpels() public {
        Item memory item = changeItem(Kind.ADMIT, one(member(1)), 1);
        item.kind = Kind.EXPEL;
        relay(item, Reason.BAD_SIGNATURE);
    }

    function test_aChangeOfAnOldVersionIsStaleAndOfALaterOneFuture() public {
        expelOne(member(1));
        bytes32 hash = Words.hashChange(Kind.ADMIT, task, one(member(9)), 1);
        relaySkipped(changeItem(Kind.ADMIT, one(member(9)), 1), Reason.STALE_ROSTER, Words.id(hash, addressOf(OWNER)));
        relay(changeItem(Kind.ADMIT, one(member(9)), 3), Reason.FUTURE_ROSTER);
        relay(changeItem(Kind.ADMIT, one(member(9)), 2), Reason.OK);
    }

    function test_anOldAdmitCannotUndoAnExpel() public {
        Item memory item = changeItem(Kind.ADMIT, one(member(9)), 1);
        relay(item, Reason.OK);
        expelOne(member(9));
        relay(item, Reason.DUPLICATE);
        _assertMember(member(9), 5, false);
    }

    function test_aRosterChangeOfAnUnknownTaskHasNoIdYet() public {
        task = keccak256("none");
        relaySkipped(changeItem(Kind.ADMIT, one(member(9)), 0), Reason.UNKNOWN_TASK, 0);
        relaySkipped(changeItem(Kind.EXPEL, one(member(9)), 1), Reason.UNKNOWN_TASK, 0);
    }

    function test_aChangeHasOneTo256MembersAndNoneIsZero() public {
        relay(changeItem(Kind.ADMIT, fillers(0), 1), Reason.BAD_MEMBERS);
        relay(changeItem(Kind.ADMIT, fillers(257), 1), Reason.BAD_MEMBERS);
        relay(changeItem(Kind.EXPEL, one(address(0)), 1), Reason.BAD_MEMBERS);
        relay(changeItem(Kind.ADMIT, fillers(256), 1), Reason.OK);
        _assertVersion(task, 2, 261);
    }

    function test_oneTasksRosterIsNotAnothers() public {
        bytes32 first = task;
        task = opened("other", accounts(3, 3));
        _assertMember(member(3), 0, true);
        (,, bool known) = waybill.member(task, member(0));
        vm.assertFalse(known);
        expelOne(member(3));
        task = first;
        _assertMember(member(3), 3, true);
    }

    function test_membersAreListedAsFarAsThereAreAny() public view {
        vm.assertEq(waybill.members(task, 0, 0).length, 0);
        vm.assertEq(waybill.members(task, 3, 100)[1].account, member(4));
        vm.assertEq(waybill.members(task, 3, 100).length, 2);
        vm.assertEq(waybill.members(task, 5, 1).length, 0);
        vm.assertEq(waybill.members(task, type(uint256).max, type(uint256).max).length, 0);
        vm.assertEq(waybill.members(task, 1, 2).length, 2);
    }

    /// @dev Random changes of a few accounts, against a list kept here.
    function testFuzz_indicesAreGivenOnceAndInOrder(uint256 seed) public {
        address[] memory given = new address[](25);
        bool[8] memory active;
        uint256[8] memory index;
        uint256 count = 5;
        for (uint256 i; i < 5; ++i) {
            (given[i], active[i], index[i]) = (member(i), true, i);
        }
        for (uint256 round; round < 4; ++round) {
            uint256 bits = uint256(keccak256(abi.encode(seed, round)));
            uint8 kind = bits % 2 == 0 ? Kind.ADMIT : Kind.EXPEL;
            uint256[5] memory who;
            address[] memory list = new address[](5);
            for (uint256 i; i < 5; ++i) {
                who[i] = (bits >> (8 + 8 * i)) % 8;
                list[i] = member(who[i]);
            }
            relay(changeItem(kind, list, round + 1), Reason.OK);
            for (uint256 i; i < 5; ++i) {
                uint256 w = who[i];
                if (kind == Kind.ADMIT && !active[w]) {
                    (given[count], index[w]) = (list[i], count);
                    ++count;
                }
                active[w] = kind == Kind.ADMIT;
            }
        }
        _assertVersion(task, 5, count);
        Member[] memory all = waybill.members(task, 0, 100);
        for (uint256 i; i < count; ++i) {
            vm.assertEq(all[i].account, given[i]);
        }
        for (uint256 w; w < 8; ++w) {
            (uint32 at_, bool isActive,) = waybill.member(task, member(w));
            vm.assertEq(abi.encode(at_, isActive), abi.encode(index[w], active[w]));
        }
    }

    function _assertMember(address account, uint256 index, bool active) private view {
        (uint32 place, bool isActive, bool known) = waybill.member(task, account);
        vm.assertEq(abi.encode(place, isActive, known), abi.encode(index, active, true));
    }

    function _assertVersion(bytes32 id, uint256 version, uint256 count) private view {
        (, uint32 isVersion, uint32 isCount) = waybill.roster(id);
        vm.assertEq(abi.encode(isVersion, isCount), abi.encode(version, count));
    }
}
